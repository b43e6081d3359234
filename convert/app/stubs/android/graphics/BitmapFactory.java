package android.graphics;

/** As much of it as the library calls: a signature to compile against. */
public class BitmapFactory {
    public static class Options {
        public boolean inJustDecodeBounds;
        public Bitmap.Config inPreferredConfig;
        public ColorSpace inPreferredColorSpace;
        public int outWidth;
        public int outHeight;
        public String outMimeType;
    }
    public static Bitmap decodeByteArray(byte[] data, int offset, int length, Options options) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
