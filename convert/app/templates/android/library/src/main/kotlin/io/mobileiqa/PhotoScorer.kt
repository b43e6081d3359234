package io.mobileiqa

import android.content.Context
import android.graphics.Bitmap
import android.net.Uri
import android.os.Build
import java.io.File
import java.io.IOException
import java.util.concurrent.Callable
import java.util.concurrent.ExecutionException
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors
import kotlin.coroutines.suspendCoroutine

/**
 * Scores photos of any size. Everything runs on one thread of its own, in turn: call it from any thread, but the blocking
 * functions never from the main one.
 *
 * Kotlin: `PhotoScorer.create(context)`, `score(photo)`. Java: `PhotoScorer.open(context, options)`, `scoreBlocking`, or
 * `score` with a [Callback].
 */
class PhotoScorer private constructor(context: Context, private val options: Options) : AutoCloseable {
    /**
     * [threads] of the CPU; [gpu]: try the GPU, which needs the artifact litert-gpu in the app, and keep it where the
     * self-test passes there; [weightCache]: keep packed weights in the cache folder, mapped and shared.
     */
    class Options @JvmOverloads constructor(
        @JvmField val threads: Int = 2,
        @JvmField val gpu: Boolean = false,
        @JvmField val weightCache: Boolean = true,
    )

    /** For Java. Called on the scorer's thread, with a result or an error. */
    interface Callback {
        fun done(result: Result?, error: Throwable?)
    }

    private val context = context.applicationContext
    private val worker: ExecutorService = Executors.newSingleThreadExecutor { Thread(it, "mobileiqa") }
    internal val photos = AndroidPhotos(this.context)
    private lateinit var runner: Runner

    /** What runs the model, and why not the GPU. */
    lateinit var accelerator: Choice
        private set

    /** The score of a photo: a file of the gallery, say. */
    suspend fun score(photo: Uri): Result = confined { scored(photos.open(photo)) }

    /** Of a bitmap, HARDWARE, Display P3 or F16, which is upright. */
    suspend fun score(photo: Bitmap): Result = confined { scored(BitmapPhoto(photo, 1, null)) }

    fun scoreBlocking(photo: Uri): Result = blocking { scored(photos.open(photo)) }

    fun scoreBlocking(photo: Bitmap): Result = blocking { scored(BitmapPhoto(photo, 1, null)) }

    fun score(photo: Uri, callback: Callback) = later(callback) { scored(photos.open(photo)) }

    fun score(photo: Bitmap, callback: Callback) = later(callback) { scored(BitmapPhoto(photo, 1, null)) }

    /**
     * Which photo of one scene to keep, as `mobileiqa best` ranks them. Each is decoded twice. Throws
     * IllegalArgumentException where fewer than two show one scene.
     */
    suspend fun best(burst: List<Uri>): Burst = confined { ranked(burst.map { { photos.open(it) } }) }

    fun bestBlocking(burst: List<Uri>): Burst = blocking { ranked(burst.map { { photos.open(it) } }) }

    /** Runs the model once, so that the first photo does not wait for what is done once. */
    suspend fun warmUp() = confined { warm() }

    fun warmUpBlocking() = blocking { warm() }

    /** Draws and decodes the golden images and photos again: what is wrong, or an empty list. */
    suspend fun selfTest(): List<String> = confined { selfTest(runner, FACTS, photos::golden) }

    fun selfTestBlocking(): List<String> = blocking { selfTest(runner, FACTS, photos::golden) }

    /** Ends the thread when what was asked before is done; the model is closed on it. */
    override fun close() {
        if (worker.isShutdown) return
        worker.execute { if (::runner.isInitialized) runner.close() }
        worker.shutdown()
    }

    internal fun scored(photo: StoredPhoto): Result = resultOf(runner.run(makeViews(photo, FACTS.views)), FACTS)

    internal fun ranked(burst: List<() -> StoredPhoto>): Burst {
        val range = (FACTS.high - FACTS.low) * if (FACTS.higherIsBetter) 1 else -1
        return rankBurst(burst, range, ::scored)
    }

    internal suspend fun <T> confined(block: () -> T): T = suspendCoroutine { continuation ->
        worker.execute { continuation.resumeWith(runCatching(block)) }
    }

    internal fun <T> blocking(block: () -> T): T = try {
        worker.submit(Callable { block() }).get()
    } catch (error: ExecutionException) {
        throw error.cause ?: error
    }

    internal fun later(callback: Callback, block: () -> Result) {
        worker.execute {
            val result = runCatching(block)
            callback.done(result.getOrNull(), result.exceptionOrNull())
        }
    }

    private fun warm() {
        val image = FACTS.drawn.first()
        scored(RgbPhoto(draw(image.image, image.width, image.height), image.width, image.height))
    }

    private fun start() {
        val stored = context.assets.open("$ASSETS/${FACTS.file}").use { sha256(it::read) }
        if (stored != FACTS.sha256) throw IOException("expected SHA-256 ${FACTS.sha256} of ${FACTS.file}; found $stored")
        val cache = File(context.cacheDir, "mobileiqa-${stored.take(16)}.weights").path.takeIf { options.weightCache }
        val (choice, opened) = choose(options.gpu, FACTS, StoredChoice(context, options.gpu), photos::golden) {
            LiteRtRunner(context.assets, FACTS, it, options.threads, cache)
        }
        accelerator = choice
        runner = opened
    }

    companion object {
        /** Checks the file, chooses the accelerator (once per install and system update) and loads it. */
        suspend fun create(context: Context, options: Options = Options()): PhotoScorer =
            PhotoScorer(context, options).also { scorer -> scorer.orClosed { scorer.confined { scorer.start() } } }

        /** The same, for Java and for threads that may wait. */
        @JvmStatic
        @JvmOverloads
        fun open(context: Context, options: Options = Options()): PhotoScorer =
            PhotoScorer(context, options).also { scorer -> scorer.orClosed { scorer.blocking { scorer.start() } } }
    }

    private inline fun orClosed(block: () -> Unit) = try {
        block()
    } catch (error: Throwable) {
        close()
        throw error
    }
}

/** The choice in a file that belongs to this file of the library and this version of the system. */
private class StoredChoice(context: Context, gpu: Boolean) : Memory {
    private val file = File(context.noBackupFilesDir, "mobileiqa-${FACTS.sha256.take(16)}-${if (gpu) "gpu" else "cpu"}")
    private val system = Build.FINGERPRINT

    override fun get(): Choice? {
        val lines = if (file.isFile) file.readText().split("\n", limit = 3) else return null
        return if (lines.size == 3 && lines[0] == system) Choice(lines[1], lines[2]) else null
    }

    override fun put(choice: Choice) {
        try {
            file.writeText("$system\n${choice.accelerator}\n${choice.why}")
        } catch (error: IOException) {
            // Asked again next time.
        }
    }
}
