package android.content;

import android.net.Uri;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;

/** Reads files. */
public abstract class ContentResolver {
    public final InputStream openInputStream(Uri uri) throws IOException {
        return new FileInputStream(uri.toString());
    }
}
