package android.media;

import java.io.IOException;
import java.io.InputStream;

/** As much of it as the library calls: a signature to compile against. */
public class ExifInterface {
    public static final String TAG_ORIENTATION = "Orientation";
    public ExifInterface(InputStream stream) throws IOException {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public int getAttributeInt(String tag, int otherwise) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
