package android.net;

/** As much of it as the library calls: a signature to compile against. */
public abstract class Uri {
}
