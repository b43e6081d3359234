package android.os;

/** Any version. */
public class Build {
    public static final String FINGERPRINT = "a phone";
    public static class VERSION {
        public static int SDK_INT = 34;
    }
}
