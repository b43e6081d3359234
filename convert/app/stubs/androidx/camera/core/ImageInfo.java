package androidx.camera.core;

/** As much of it as the library calls: a signature to compile against. */
public interface ImageInfo {
    int getRotationDegrees();
}
