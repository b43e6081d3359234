package android.graphics;

import java.io.IOException;
import java.nio.ByteBuffer;

/** As much of it as the library calls: a signature to compile against. */
public final class ImageDecoder {
    public static final int ALLOCATOR_SOFTWARE = 1;
    public abstract static class Source { }
    public static class ImageInfo { }
    public interface OnHeaderDecodedListener {
        void onHeaderDecoded(ImageDecoder decoder, ImageInfo info, Source source);
    }
    public static Source createSource(ByteBuffer buffer) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public static Bitmap decodeBitmap(Source source, OnHeaderDecodedListener listener) throws IOException {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public void setAllocator(int allocator) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public int getAllocator() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public void setTargetColorSpace(ColorSpace space) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
