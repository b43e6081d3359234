package android.graphics;

import java.awt.image.BufferedImage;

/** Over an image of the JVM, which converts to sRGB as Android does. */
public final class Bitmap {
    public enum Config { ALPHA_8, RGB_565, ARGB_4444, ARGB_8888, RGBA_F16, HARDWARE }
    private final BufferedImage image;
    private final Config config;
    public Bitmap(BufferedImage image, Config config) {
        this.image = image;
        this.config = config;
    }
    public int getWidth() {
        return image.getWidth();
    }
    public int getHeight() {
        return image.getHeight();
    }
    public Config getConfig() {
        return config;
    }
    public Bitmap copy(Config other, boolean mutable) {
        return new Bitmap(image, other);
    }
    public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {
        if (config == Config.HARDWARE) {
            throw new IllegalStateException("unable to getPixels(), pixel access is not supported on Config#HARDWARE bitmaps");
        }
        image.getRGB(x, y, width, height, pixels, offset, stride);
        if (Phone.mistake.equals("bgr")) {
            for (int i = offset; i < offset + width; i++) {
                int p = pixels[i];
                pixels[i] = p & 0xff00ff00 | (p & 255) << 16 | p >> 16 & 255;
            }
        }
    }
    public void recycle() {}
}
