package android.graphics;

/** As much of it as the library calls: a signature to compile against. */
public class ImageFormat {
    public static final int JPEG = 256;
    public static final int YUV_420_888 = 35;
}
