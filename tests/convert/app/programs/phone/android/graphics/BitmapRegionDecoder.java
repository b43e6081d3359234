package android.graphics;

import java.io.IOException;

/** The same, a part at a time. */
public final class BitmapRegionDecoder {
    public static int regions = 0;
    private final byte[] data;
    private BitmapRegionDecoder(byte[] data) {
        this.data = data;
    }
    public static BitmapRegionDecoder newInstance(byte[] data, int offset, int length, boolean shareable) throws IOException {
        return new BitmapRegionDecoder(data);
    }
    public Bitmap decodeRegion(Rect rect, BitmapFactory.Options options) {
        regions++;
        try {
            return BitmapFactory.read(data, rect, options);
        } catch (IOException error) {
            return null;
        }
    }
    public void recycle() {}
}
