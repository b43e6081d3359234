package io.mobileiqa

import android.content.ContentResolver
import android.content.Context
import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.BitmapRegionDecoder
import android.graphics.Phone
import android.net.Uri
import android.os.Build
import androidx.camera.core.ImageInfo
import androidx.camera.core.ImageProxy
import com.google.ai.edge.litert.CompiledModel
import java.io.File
import java.nio.ByteBuffer
import javax.imageio.ImageIO
import kotlin.coroutines.EmptyCoroutineContext
import kotlin.coroutines.startCoroutine
import kotlin.system.exitProcess

/** CASES ASSETS PHOTOS GPU COMMAND...: all that a test asks of the library, on a JVM in place of a phone, in one run. */
fun main(words: Array<String>) {
    val (cases, assets, photos, gpu) = words
    CompiledModel.command = words.drop(4).toTypedArray()
    views(File(cases))
    val phone = TestPhone(File(assets))
    PhotoScorer.open(phone).use { scorer ->
        println("accelerator ${scorer.accelerator}")
        println("options ${CompiledModel.options}")
        println("wrong ${scorer.selfTestBlocking()}")
        File(photos).readLines().forEach { score(scorer, it.split(" ")) }
        val java = Caller.scores(phone, TestUri(File(photos).readLines().first().split(" ")[1]))
        println("java $java")
        println("missing ${tried { scorer.scoreBlocking(TestUri("missing.jpg")) }}")
        best(scorer, phone, File(photos).resolveSibling("burst.txt").readLines())
        println("profile ${profile(File(photos).resolveSibling("p3.jpg"))}")
    }
    mistakes(File(assets))
    accelerators(File(assets), gpu)
    exitProcess(0)
}

private fun views(cases: File) = cases.forEachLine { line ->
    val f = line.split(" ")
    val view = View("v", f[4].toInt(), f[5].toInt(), f[6], f[7], f[8].toInt(), listOf(0.0), listOf(1.0))
    val photo = RgbPhoto(File(f[0]).readBytes(), f[1].toInt(), f[2].toInt(), f[3].toInt())
    File(f[9]).writeBytes(makeViews(photo, listOf(view)).single())
}

/** KIND PATH [WIDTH HEIGHT TURN]: as the name of the kind says. */
private fun score(scorer: PhotoScorer, words: List<String>) {
    val (kind, path) = words
    val (width, height, turn) = words.drop(2).map(String::toInt).ifEmpty { listOf(0, 0, 0) }
    val before = BitmapRegionDecoder.regions
    val result = when (kind) {
        "file" -> waited { scorer.score(TestUri(path)) }
        "hardware" -> waited { scorer.score(Bitmap(ImageIO.read(File(path)), Bitmap.Config.HARDWARE)) }
        "yuv" -> waited { scorer.score(Frame(File(path).readBytes(), width, height, turn)) }
        else -> scorer.blocking { scorer.scored(RgbPhoto(File(path).readBytes(), width, height, turn)) }
    }
    println("score ${result.score} ${result.label} ${BitmapRegionDecoder.regions - before} ${result.reasons.first().name}")
}

/** The burst by its files, the first of them also as it lies turned; and fewer than two of one scene. */
private fun best(scorer: PhotoScorer, phone: Context, paths: List<String>) {
    val burst = waited { scorer.best(paths.map { TestUri(it) }) }
    for (each in burst.ranked) each.run {
        println("best $index $margin $right $down $detail $noise $stops ${result.score} $why")
    }
    println("aside ${burst.leftOut.map { (index, reason) -> "$index $reason" }.joinToString("|")}")
    println("alone ${tried { scorer.bestBlocking(listOf(TestUri(paths[0]), TestUri("missing.jpg"))) }}")
    println("keeper ${Caller.best(phone, paths.take(2).map { TestUri(it) })}")
}

private fun mistakes(assets: File) {
    for (mistake in listOf("bgr", "p3", "exif")) {
        Phone.mistake = mistake
        println("mistake $mistake ${tried { PhotoScorer.open(TestPhone(assets)) }}")
    }
    Phone.mistake = ""
    Build.VERSION.SDK_INT = 24 // converts no colours: the library does
    println("android7 ${tried { PhotoScorer.open(TestPhone(assets)).use { it.accelerator } }}")
    Build.VERSION.SDK_INT = 34
    val broken = File(assets.parentFile, "broken").also { assets.copyRecursively(it) }
    File(broken, "mobileiqa/${FACTS.file}").run {
        writeBytes(readBytes().also { it[it.size / 2] = (it[it.size / 2] + 1).toByte() })
    }
    println("mistake byte ${tried { PhotoScorer.open(TestPhone(broken)) }}")
    val other = facts(FACTS.drawn.map { Drawn(it.image, it.width, it.height, it.expected.map { v -> v + 0.01 }) }, "")
    println("mistake model ${tried { chosen(other, assets, true) }}")
}

private fun accelerators(assets: File, wrong: String) {
    val gpu = PhotoScorer.Options(gpu = true)
    val phone = TestPhone(assets)
    fun choice() = PhotoScorer.open(phone, gpu).use { it.accelerator }
    println("gpu absent ${choice()}")
    phone.forget()
    loadLibrary = { if (it != "LiteRtClGlAccelerator") throw UnsatisfiedLinkError(it) }
    println("gpu none ${choice()}")
    phone.forget()
    CompiledModel.gpu = File(assets, "mobileiqa/${FACTS.file}").path
    println("gpu right ${choice()}")
    val runs = CompiledModel.runs
    println("gpu again ${choice()} ${CompiledModel.runs - runs}")
    phone.forget()
    CompiledModel.gpu = wrong
    println("gpu wrong ${choice()}")
    println("gpu refused ${chosen(facts(FACTS.drawn, "it was verified for cpu"), assets, true)}")
}

private fun facts(drawn: List<Drawn>, refused: String) = FACTS.run {
    ModelFacts(file, sha256, about, signature, takesBytes, views, reasons, low, high, higherIsBetter, tolerance, drawn, photos, refused)
}

private fun chosen(facts: ModelFacts, assets: File, gpu: Boolean): Choice {
    val phone = TestPhone(assets)
    val forgetful = object : Memory {
        override fun get(): Choice? = null

        override fun put(choice: Choice) = Unit
    }
    val (choice, runner) = choose(gpu, facts, forgetful, AndroidPhotos(phone)::golden) {
        LiteRtRunner(phone.assets, facts, it, 1, "cache")
    }
    runner.close()
    return choice
}

/** The profile's colours: what the library makes of the 9x9x9 corners of Display P3. */
private fun profile(photo: File): String {
    val profile = requireNotNull(ColorProfile.read(requireNotNull(profileOf(photo.readBytes()))))
    val row = IntArray(729) { (it / 81 * 255 / 8 shl 16) or (it / 9 % 9 * 255 / 8 shl 8) or (it % 9 * 255 / 8) }
    profile.toSrgb(row)
    return row.joinToString(",")
}

private fun tried(block: () -> Any?): String = try {
    "${block()}"
} catch (error: Exception) {
    "${error.javaClass.simpleName}: ${error.message}"
}

private fun <T> waited(block: suspend () -> T): T {
    val queue = java.util.concurrent.ArrayBlockingQueue<kotlin.Result<T>>(1)
    block.startCoroutine(kotlin.coroutines.Continuation(EmptyCoroutineContext) { queue.add(it) })
    return queue.take().getOrThrow()
}

private class TestUri(private val path: String) : Uri() {
    override fun toString() = path
}

private class TestPhone(assets: File) : Context() {
    private val manager = AssetManager(assets)
    private val folder = File.createTempFile("phone", "").also { it.delete(); it.mkdirs() }

    fun forget() = folder.listFiles()!!.forEach { it.delete() }

    override fun getApplicationContext() = this

    override fun getAssets() = manager

    override fun getContentResolver() = object : ContentResolver() {}

    override fun getCacheDir() = folder

    override fun getNoBackupFilesDir() = folder
}

/** Rows with padding, and the planes of chroma interleaved, as most phones have them. */
private class Frame(bytes: ByteArray, private val width: Int, private val height: Int, private val turn: Int) : ImageProxy {
    private val half = (width + 1) / 2
    private val rows = (height + 1) / 2
    private val luma = ByteBuffer.allocate((width + 5) * height).also {
        for (y in 0 until height) for (x in 0 until width) it.put((width + 5) * y + x, bytes[width * y + x])
    }
    private val chroma = ByteArray(2 * half * rows + 1).also {
        for (i in 0 until half * rows) {
            it[2 * i] = bytes[width * height + i]
            it[2 * i + 1] = bytes[width * height + half * rows + i]
        }
    }

    override fun getFormat() = 35

    override fun getWidth() = width

    override fun getHeight() = height

    override fun getImageInfo() = ImageInfo { turn }

    override fun getPlanes(): Array<ImageProxy.PlaneProxy> = arrayOf(
        plane(luma, width + 5, 1),
        plane(ByteBuffer.wrap(chroma), 2 * half, 2),
        plane(ByteBuffer.wrap(chroma, 1, chroma.size - 1).slice(), 2 * half, 2),
    )

    private fun plane(bytes: ByteBuffer, rowStride: Int, pixelStride: Int) = object : ImageProxy.PlaneProxy {
        override fun getRowStride() = rowStride

        override fun getPixelStride() = pixelStride

        override fun getBuffer() = bytes
    }

    override fun close() = Unit
}
