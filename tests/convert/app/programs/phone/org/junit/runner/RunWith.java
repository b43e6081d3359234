package org.junit.runner;

/** JUnit's. */
public @interface RunWith {
    Class<? extends Runner> value();
}
