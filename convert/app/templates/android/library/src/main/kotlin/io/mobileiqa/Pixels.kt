package io.mobileiqa

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import kotlin.math.roundToInt

/** 8-bit RGB in memory. */
internal class RgbPhoto(
    private val rgb: ByteArray,
    override val width: Int,
    override val height: Int,
    override val orientation: Int = 1,
) : StoredPhoto {
    override fun rows(take: (y: Int, row: IntArray) -> Unit) {
        val row = IntArray(width)
        var at = 0
        for (y in 0 until height) {
            for (x in 0 until width) {
                row[x] = (rgb[at].toInt() and 255 shl 16) or (rgb[at + 1].toInt() and 255 shl 8) or (rgb[at + 2].toInt() and 255)
                at += 3
            }
            take(y, row)
        }
    }
}

/** 0xAARRGGBB on white, where it is transparent, as a page shows it. */
internal fun onWhite(row: IntArray) {
    for (x in row.indices) {
        val pixel = row[x]
        val alpha = pixel ushr 24
        if (alpha != 255) row[x] = blend(pixel shr 16 and 255, alpha) shl 16 or
            (blend(pixel shr 8 and 255, alpha) shl 8) or blend(pixel and 255, alpha)
    }
}

/** Pillow's rounding of a blend with white. */
private fun blend(value: Int, alpha: Int): Int {
    val sum = 255 * (255 - alpha) + value * alpha + 128
    return sum + (sum shr 8) shr 8
}

/** The EXIF orientation that turns a frame by as much as a camera says. */
internal fun orientationOf(rotationDegrees: Int): Int = when (Math.floorMod(rotationDegrees, 360)) {
    90 -> 6
    180 -> 3
    270 -> 8
    else -> 1
}

/** A plane of a 4:2:0 frame. */
internal class Plane(val bytes: ByteArray, val rowStride: Int, val pixelStride: Int) {
    fun at(x: Int, y: Int): Int = bytes[y * rowStride + x * pixelStride].toInt() and 255
}

/** A 4:2:0 frame of a camera: JPEG's full-range BT.601, each chroma sample for its 2x2 pixels. */
internal class Yuv420Photo(
    private val luma: Plane,
    private val blue: Plane,
    private val red: Plane,
    override val width: Int,
    override val height: Int,
    override val orientation: Int,
) : StoredPhoto {
    override fun rows(take: (y: Int, row: IntArray) -> Unit) {
        val row = IntArray(width)
        for (y in 0 until height) {
            for (x in 0 until width) {
                val l = luma.at(x, y) shl 16
                val u = blue.at(x / 2, y / 2) - 128
                val v = red.at(x / 2, y / 2) - 128
                row[x] = byte(l + 91881 * v) shl 16 or (byte(l - 22554 * u - 46802 * v) shl 8) or byte(l + 116130 * u)
            }
            take(y, row)
        }
    }

    private fun byte(value: Int) = min(max(value + 32768 shr 16, 0), 255)
}

/**
 * An RGB colour profile of matrix and curves, such as Display P3: from its numbers to sRGB's. For platforms that do not
 * convert (Android 7); relative colorimetric, clipped.
 */
internal class ColorProfile private constructor(private val linear: Array<FloatArray>, private val matrix: DoubleArray) {
    private val encoded = ByteArray(STEPS + 1) { encode(it.toDouble() / STEPS) }

    /** Converts pixels 0xRRGGBB in place. */
    fun toSrgb(row: IntArray) {
        val m = FloatArray(9) { matrix[it].toFloat() }
        for (x in row.indices) {
            val pixel = row[x]
            val r = linear[0][pixel shr 16 and 255]
            val g = linear[1][pixel shr 8 and 255]
            val b = linear[2][pixel and 255]
            row[x] = pixel and (255 shl 24) or (level(m[0] * r + m[1] * g + m[2] * b) shl 16) or
                (level(m[3] * r + m[4] * g + m[5] * b) shl 8) or level(m[6] * r + m[7] * g + m[8] * b)
        }
    }

    private fun level(value: Float): Int = encoded[(min(max(value, 0f), 1f) * STEPS + 0.5f).toInt()].toInt() and 255

    companion object {
        private const val STEPS = 1 shl 16
        private const val SAME = 3 // levels by which no colour moves under a profile that is sRGB

        /** sRGB's linear light from XYZ adapted to D50. */
        private val FROM_XYZ = doubleArrayOf(
            3.1338561, -1.6168667, -0.4906146,
            -0.9787684, 1.9161415, 0.0334540,
            0.0719453, -0.2289914, 1.4052427,
        )

        private fun encode(value: Double): Byte {
            val curved = if (value <= 0.0031308) 12.92 * value else 1.055 * value.pow(1 / 2.4) - 0.055
            return (255 * curved).roundToInt().toByte()
        }

        /** The profile; null for one that is sRGB, damaged, or of another kind: its numbers are taken as sRGB's. */
        fun read(icc: ByteArray): ColorProfile? = try {
            val tags = Tags(icc)
            val columns = listOf("rXYZ", "gXYZ", "bXYZ").map(tags::xyz)
            val linear = listOf("rTRC", "gTRC", "bTRC").map(tags::curve).toTypedArray()
            val matrix = DoubleArray(9) { i -> (0 until 3).sumOf { FROM_XYZ[i / 3 * 3 + it] * columns[i % 3][it] } }
            ColorProfile(linear, matrix).takeUnless { it.isSrgb() }
        } catch (error: RuntimeException) {
            null
        }
    }

    private fun isSrgb(): Boolean {
        val probe = IntArray(256) { it * 0x10101 } + // greys, and 9x9x9 colours
            IntArray(729) { (it / 81 * 255 / 8 shl 16) or (it / 9 % 9 * 255 / 8 shl 8) or (it % 9 * 255 / 8) }
        val converted = probe.copyOf().also(::toSrgb)
        return probe.indices.all { i ->
            listOf(16, 8, 0).all { abs((probe[i] shr it and 255) - (converted[i] shr it and 255)) <= SAME }
        }
    }

    /** ICC.1:2022, clauses 7.3 and 10. */
    private class Tags(private val icc: ByteArray) {
        private fun u32(at: Int): Int =
            (0 until 4).fold(0) { value, i -> value shl 8 or (icc[at + i].toInt() and 255) }

        private fun fixed(at: Int): Double = u32(at) / 65536.0

        private fun u16(at: Int): Int = (icc[at].toInt() and 255 shl 8) or (icc[at + 1].toInt() and 255)

        private fun text(at: Int) = String(icc, at, 4, Charsets.ISO_8859_1)

        private fun start(name: String): Int {
            require(text(16) == "RGB ") { "another colour space" }
            val entry = (0 until u32(128)).map { 132 + 12 * it }.first { text(it) == name }
            return u32(entry + 4)
        }

        fun xyz(name: String): DoubleArray = start(name).let { at -> DoubleArray(3) { fixed(at + 8 + 4 * it) } }

        /** Linear light of each of 256 levels. */
        fun curve(name: String): FloatArray {
            val at = start(name)
            val function = if (text(at) == "para") parametric(at) else sampled(at)
            return FloatArray(256) { function(it / 255.0).toFloat() }
        }

        private fun sampled(at: Int): (Double) -> Double {
            require(text(at) == "curv") { "another curve" }
            val count = u32(at + 8)
            if (count == 0) return { it }
            if (count == 1) return { it.pow(u16(at + 12) / 256.0) }
            return { x ->
                val place = x * (count - 1)
                val low = min(place.toInt(), count - 2)
                val (a, b) = u16(at + 12 + 2 * low) to u16(at + 14 + 2 * low)
                (a + (b - a) * (place - low)) / 65535
            }
        }

        private fun parametric(at: Int): (Double) -> Double {
            val kind = u16(at + 8)
            val p = DoubleArray(intArrayOf(1, 3, 4, 5, 7)[kind]) { fixed(at + 12 + 4 * it) }
            val g = p[0]
            return { x ->
                when (kind) {
                    0 -> x.pow(g)
                    1 -> if (x >= -p[2] / p[1]) (p[1] * x + p[2]).pow(g) else 0.0
                    2 -> if (x >= -p[2] / p[1]) (p[1] * x + p[2]).pow(g) + p[3] else p[3]
                    3 -> if (x >= p[4]) (p[1] * x + p[2]).pow(g) else p[3] * x
                    else -> if (x >= p[4]) (p[1] * x + p[2]).pow(g) + p[5] else p[3] * x + p[6]
                }
            }
        }
    }
}

/** The ICC profile in the APP2 segments of a JPEG file; null where there is none. */
internal fun profileOf(jpeg: ByteArray): ByteArray? {
    val mark = "ICC_PROFILE\u0000".toByteArray(Charsets.ISO_8859_1)
    val parts = sortedMapOf<Int, ByteArray>()
    var at = 2
    while (at + 4 <= jpeg.size && jpeg[at] == 0xff.toByte()) {
        val kind = jpeg[at + 1].toInt() and 255
        if (kind == 0xda) break
        val length = (jpeg[at + 2].toInt() and 255 shl 8) or (jpeg[at + 3].toInt() and 255)
        val body = at + 4
        val isProfile = kind == 0xe2 && body + 14 <= jpeg.size && mark.indices.all { jpeg[body + it] == mark[it] }
        if (isProfile && at + 2 + length <= jpeg.size) parts[jpeg[body + 12].toInt()] = jpeg.copyOfRange(body + 14, at + 2 + length)
        at += 2 + length
    }
    return parts.values.fold(ByteArray(0)) { all, part -> all + part }.takeIf { it.isNotEmpty() }
}
