package io.mobileiqa

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.BitmapRegionDecoder
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.graphics.Rect
import android.media.ExifInterface
import android.net.Uri
import android.os.Build
import java.io.ByteArrayInputStream
import java.io.IOException
import java.nio.ByteBuffer
import kotlin.math.max
import kotlin.math.min

/** Photos through the platform's decoders: sRGB whatever the file says, turned as EXIF says. */
internal class AndroidPhotos(private val context: Context) {
    fun open(photo: Uri): StoredPhoto {
        val stream = context.contentResolver.openInputStream(photo) ?: throw IOException("expected a photo at $photo; found none")
        return open(stream.use { it.readBytes() }, "$photo")
    }

    /** A golden photo; null for a format that this Android does not read. JPEG is read by all. */
    fun golden(file: String): StoredPhoto? {
        val bytes = context.assets.open("$ASSETS/golden/$file").use { it.readBytes() }
        return try {
            open(bytes, file)
        } catch (error: IOException) {
            if (file.endsWith(".jpg")) throw error
            null
        }
    }

    /** Throws IOException for bytes that are no photo. */
    fun open(bytes: ByteArray, name: String): StoredPhoto {
        val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        BitmapFactory.decodeByteArray(bytes, 0, bytes.size, bounds)
        if (bounds.outWidth < 1 || bounds.outHeight < 1) throw IOException("expected a photo that Android reads; found $name")
        if (bounds.outMimeType !in IN_REGIONS && Build.VERSION.SDK_INT >= 28) return BitmapPhoto(upright(bytes), 1, null)
        val orientation = ExifInterface(ByteArrayInputStream(bytes)).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
        val convert = if (Build.VERSION.SDK_INT < 26) profileOf(bytes)?.let(ColorProfile::read) else null
        if (bounds.outWidth.toLong() * bounds.outHeight > BAND_PIXELS && bounds.outMimeType in IN_REGIONS) {
            return RegionPhoto(bytes, name, bounds.outWidth, bounds.outHeight, orientation, convert)
        }
        val bitmap = BitmapFactory.decodeByteArray(bytes, 0, bytes.size, srgb()) ?: throw damaged(name)
        return BitmapPhoto(bitmap, orientation, convert)
    }

    /** HEIC, AVIF and the rest: ImageDecoder converts to sRGB and turns by itself. */
    private fun upright(bytes: ByteArray): Bitmap =
        ImageDecoder.decodeBitmap(ImageDecoder.createSource(ByteBuffer.wrap(bytes))) { decoder, _, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
        }
}

internal const val ASSETS = "mobileiqa"

private const val BAND_PIXELS = 13_000_000 // at once: 52 MB, a photo of 12 megapixels
private val IN_REGIONS = setOf("image/jpeg", "image/png", "image/webp")

private fun srgb() = BitmapFactory.Options().apply {
    inPreferredConfig = Bitmap.Config.ARGB_8888
    if (Build.VERSION.SDK_INT >= 26) inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)
}

private fun damaged(name: String) = IOException("expected a whole photo; found a damaged one in $name")

/**
 * A bitmap of any kind. HARDWARE ones, which ImageDecoder and Coil make by default, are copied: their pixels cannot be
 * read. Of Display P3 and F16 ones, getPixels gives sRGB.
 */
internal class BitmapPhoto(bitmap: Bitmap, override val orientation: Int, private val convert: ColorProfile?) : StoredPhoto {
    private val bitmap = if (Build.VERSION.SDK_INT >= 26 && bitmap.config == Bitmap.Config.HARDWARE) {
        requireNotNull(bitmap.copy(Bitmap.Config.ARGB_8888, false)) { "expected memory for a copy of the bitmap; found none" }
    } else {
        bitmap
    }
    override val width = bitmap.width
    override val height = bitmap.height

    override fun rows(take: (y: Int, row: IntArray) -> Unit) {
        val row = IntArray(width)
        for (y in 0 until height) {
            bitmap.getPixels(row, 0, width, 0, y, width, 1)
            onWhite(row)
            convert?.toSrgb(row)
            take(y, row)
        }
    }

    fun recycle() = bitmap.recycle()
}

/** A large photo, a band of rows at a time. */
internal class RegionPhoto(
    private val bytes: ByteArray,
    private val name: String,
    override val width: Int,
    override val height: Int,
    override val orientation: Int,
    private val convert: ColorProfile?,
) : StoredPhoto {
    override fun rows(take: (y: Int, row: IntArray) -> Unit) {
        @Suppress("DEPRECATION")
        val decoder = BitmapRegionDecoder.newInstance(bytes, 0, bytes.size, false) ?: throw damaged(name)
        try {
            val rows = max(1, BAND_PIXELS / width)
            for (top in 0 until height step rows) {
                val band = decoder.decodeRegion(Rect(0, top, width, min(top + rows, height)), srgb()) ?: throw damaged(name)
                BitmapPhoto(band, 1, convert).run {
                    rows { y, row -> take(top + y, row) }
                    recycle()
                }
            }
        } finally {
            decoder.recycle()
        }
    }
}
