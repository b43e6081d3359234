package android.os;

/** As much of it as the library calls: a signature to compile against. */
public class Build {
    public static final String FINGERPRINT = new String();
    public static class VERSION {
        public static final int SDK_INT = Integer.parseInt("0");
    }
}
