package org.junit;

/** JUnit's. */
public @interface Test {}
