package android.graphics;

/** sRGB. */
public abstract class ColorSpace {
    public enum Named { SRGB, DISPLAY_P3 }
    public static ColorSpace get(Named name) {
        return new ColorSpace() {};
    }
}
