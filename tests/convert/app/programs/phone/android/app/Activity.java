package android.app;

import android.content.ContentResolver;
import android.content.Context;
import android.content.Intent;
import android.content.res.AssetManager;
import android.os.Bundle;
import android.view.View;
import java.io.File;

/** Signatures for the sample. */
public abstract class Activity extends Context {
    @Override
    public Context getApplicationContext() {
        return this;
    }
    @Override
    public AssetManager getAssets() {
        return null;
    }
    @Override
    public ContentResolver getContentResolver() {
        return null;
    }
    @Override
    public File getCacheDir() {
        return null;
    }
    @Override
    public File getNoBackupFilesDir() {
        return null;
    }
    protected void onCreate(Bundle state) {}
    protected void onActivityResult(int request, int code, Intent data) {}
    protected void onDestroy() {}
    public void setContentView(View view) {}
    public void startActivityForResult(Intent intent, int request) {}
    public final void runOnUiThread(Runnable action) {}
}
