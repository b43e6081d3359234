package android.graphics;

/** As much of it as the library calls: a signature to compile against. */
public final class Bitmap {
    public enum Config { ALPHA_8, RGB_565, ARGB_4444, ARGB_8888, RGBA_F16, HARDWARE }
    public int getWidth() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public int getHeight() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public Config getConfig() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public Bitmap copy(Config config, boolean mutable) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public void recycle() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
