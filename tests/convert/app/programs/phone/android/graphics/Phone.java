package android.graphics;

/** What is wrong with this phone: bgr, p3, exif, or nothing. */
public final class Phone {
    public static String mistake = "";
    private Phone() {}
}
