package android.graphics;

/** As much of it as the library calls: a signature to compile against. */
public class PixelFormat {
    public static final int RGBA_8888 = 1;
}
