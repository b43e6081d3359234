package android.graphics;

/** As much of Android's Bitmap as the snippets use, over ARGB pixels. */
public final class Bitmap {
    private final int[] pixels;
    private final int width;
    private final int height;

    public Bitmap(byte[] rgb, int width, int height) {
        this.width = width;
        this.height = height;
        pixels = new int[width * height];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = 0xff << 24 | (rgb[3 * i] & 255) << 16 | (rgb[3 * i + 1] & 255) << 8 | rgb[3 * i + 2] & 255;
        }
    }

    public int getWidth() {
        return width;
    }

    public int getHeight() {
        return height;
    }

    public void getPixels(int[] out, int offset, int stride, int x, int y, int columns, int rows) {
        for (int row = 0; row < rows; row++) {
            System.arraycopy(pixels, (y + row) * width + x, out, offset + row * stride, columns);
        }
    }
}
