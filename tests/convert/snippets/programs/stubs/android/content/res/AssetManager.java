package android.content.res;

/** Android's, by name. */
public final class AssetManager {}
