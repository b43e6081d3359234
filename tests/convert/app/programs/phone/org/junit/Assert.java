package org.junit;

/** JUnit's. */
public class Assert {
    public static void assertEquals(Object expected, Object actual) {}
}
