package android.content.res;

import java.io.IOException;
import java.io.InputStream;

/** As much of it as the library calls: a signature to compile against. */
public final class AssetManager {
    public InputStream open(String name) throws IOException {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
