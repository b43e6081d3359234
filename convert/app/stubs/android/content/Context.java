package android.content;

import android.content.res.AssetManager;
import java.io.File;

/** As much of it as the library calls: a signature to compile against. */
public abstract class Context {
    public abstract Context getApplicationContext();
    public abstract AssetManager getAssets();
    public abstract ContentResolver getContentResolver();
    public abstract File getCacheDir();
    public abstract File getNoBackupFilesDir();
}
