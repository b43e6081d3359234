package android.graphics;

import java.io.IOException;

/** As much of it as the library calls: a signature to compile against. */
public final class BitmapRegionDecoder {
    public static BitmapRegionDecoder newInstance(byte[] data, int offset, int length, boolean shareable) throws IOException {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public Bitmap decodeRegion(Rect rect, BitmapFactory.Options options) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public void recycle() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
