package org.junit.runner;

/** JUnit's. */
public abstract class Runner {}
