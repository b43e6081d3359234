package android.content;

import android.net.Uri;
import java.io.InputStream;

/** As much of it as the library calls: a signature to compile against. */
public abstract class ContentResolver {
    public final InputStream openInputStream(Uri uri) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
