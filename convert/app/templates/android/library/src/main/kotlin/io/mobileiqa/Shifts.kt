package io.mobileiqa

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin
import kotlin.math.sqrt

private const val COARSE_PX = 400 // the longer side at which shifts are looked for first
private const val FINE_PX = 256 // side of the windows in which they are found to the pixel
private val PLACES = doubleArrayOf(0.3, 0.5, 0.7) // of these windows, along each side

internal data class Shift(val right: Int, val down: Int)

internal class Box(val left: Int, val top: Int, val width: Int, val height: Int)

/** Brightness of the upright photo number [index], as Pillow's mode L has it. */
internal class Grey(val index: Int, val width: Int, val height: Int, val pixels: ByteArray) {
    fun at(i: Int): Int = pixels[i].toInt() and 255

    fun cut(box: Box): Grey {
        val part = ByteArray(box.width * box.height)
        for (y in 0 until box.height) {
            val from = (box.top + y) * width + box.left
            pixels.copyInto(part, y * box.width, from, from + box.width)
        }
        return Grey(index, box.width, box.height, part)
    }

    fun values() = Values(width, height, DoubleArray(pixels.size) { at(it).toDouble() })
}

internal class Values(val width: Int, val height: Int, val values: DoubleArray)

internal fun greyOf(index: Int, photo: StoredPhoto): Grey {
    val turn = Turn(photo.orientation)
    val width = if (turn.swaps) photo.height else photo.width
    val height = if (turn.swaps) photo.width else photo.height
    val pixels = ByteArray(width * height)
    photo.rows { y, row ->
        val line = if (turn.flipsRows) photo.height - 1 - y else y
        for (x in 0 until photo.width) {
            val pixel = row[x]
            val column = if (turn.flipsColumns) photo.width - 1 - x else x
            val sum = 19595 * (pixel shr 16 and 255) + 38470 * (pixel shr 8 and 255) + 7471 * (pixel and 255) + 0x8000
            pixels[if (turn.swaps) column * width + line else line * width + column] = (sum shr 16).toByte()
        }
    }
    return Grey(index, width, height, pixels)
}

/** The part [box] of the upright photo, as it is stored. */
internal class PartPhoto(private val photo: StoredPhoto, box: Box) : StoredPhoto {
    private val turn = Turn(photo.orientation)
    override val orientation = photo.orientation
    override val width = if (turn.swaps) box.height else box.width
    override val height = if (turn.swaps) box.width else box.height
    private val left = start(if (turn.swaps) box.top else box.left, width, photo.width, turn.flipsColumns)
    private val top = start(if (turn.swaps) box.left else box.top, height, photo.height, turn.flipsRows)

    private fun start(from: Int, count: Int, length: Int, flips: Boolean) = if (flips) length - from - count else from

    override fun rows(take: (y: Int, row: IntArray) -> Unit) {
        val line = IntArray(width)
        photo.rows { y, row ->
            if (y - top in 0 until height) {
                row.copyInto(line, 0, left, left + width)
                take(y - top, line)
            }
        }
    }
}

/** What photos of one size all show, in the first photo's pixels. */
internal fun commonPart(shifts: List<Shift>, width: Int, height: Int): Box {
    val left = -min(0, shifts.minOf { it.right })
    val top = -min(0, shifts.minOf { it.down })
    return Box(left, top, width - max(0, shifts.maxOf { it.right }) - left, height - max(0, shifts.maxOf { it.down }) - top)
}

/** The shift of [second] to the pixel, and how well its brightness then correlates with that of [first]. */
internal fun align(first: Grey, second: Grey): Pair<Shift, Double> {
    val side = max(1, max(first.width, first.height) / COARSE_PX)
    val small = reduced(first, side)
    val other = reduced(second, side)
    val coarse = shiftBetween(small, other)
    val correlation = correlated(small, other, coarse)
    val start = Shift(coarse.right * side, coarse.down * side)
    if (min(first.width, first.height) <= FINE_PX || side == 1) return start to correlation
    val fine = PLACES.flatMap { across -> PLACES.map { down -> fineShift(first, second, start, across, down) } }
    return Shift(fine.map { it.right }.sorted()[4], fine.map { it.down }.sorted()[4]) to correlation
}

/** Means of squares of [side] pixels. */
private fun reduced(grey: Grey, side: Int): Values {
    val width = grey.width / side
    val height = grey.height / side
    val values = DoubleArray(width * height)
    for (y in 0 until height * side) for (x in 0 until width * side) {
        values[y / side * width + x / side] += grey.at(y * grey.width + x).toDouble()
    }
    for (i in values.indices) values[i] = values[i] / (side * side)
    return Values(width, height, values)
}

private fun fineShift(first: Grey, second: Grey, start: Shift, across: Double, down: Double): Shift {
    val left = (across * (first.width - FINE_PX)).toInt()
    val top = (down * (first.height - FINE_PX)).toInt()
    val x = (left + start.right).coerceIn(0, first.width - FINE_PX)
    val y = (top + start.down).coerceIn(0, first.height - FINE_PX)
    val one = first.cut(Box(left, top, FINE_PX, FINE_PX)).values()
    val shift = shiftBetween(one, second.cut(Box(x, y, FINE_PX, FINE_PX)).values())
    return Shift(shift.right + x - left, shift.down + y - top)
}

/** By how much the content of [second] lies off that of [first]: phase correlation, both transformed as one complex image. */
internal fun shiftBetween(first: Values, second: Values): Shift {
    val width = first.width
    val height = first.height
    val re = windowed(first)
    val im = windowed(second)
    transform(re, im, width, height)
    val real = DoubleArray(re.size)
    val imaginary = DoubleArray(re.size)
    var total = 0.0
    for (y in 0 until height) for (x in 0 until width) {
        val i = y * width + x
        val j = (height - y) % height * width + (width - x) % width
        val a = (re[i] + re[j]) / 2
        val b = (im[i] - im[j]) / 2
        val c = (im[i] + im[j]) / 2
        val d = (re[j] - re[i]) / 2
        real[i] = a * c + b * d
        imaginary[i] = a * d - b * c
        if (x <= width / 2) total += sqrt(real[i] * real[i] + imaginary[i] * imaginary[i])
    }
    val floor = 1e-3 * total / (height * (width / 2 + 1)) + 1e-12
    for (i in real.indices) {
        val size = sqrt(real[i] * real[i] + imaginary[i] * imaginary[i]) + floor
        real[i] = real[i] / size
        imaginary[i] = imaginary[i] / size
    }
    transform(imaginary, real, width, height) // parts exchanged: the inverse
    var peak = 0
    for (i in real.indices) if (real[i] > real[peak]) peak = i
    return Shift(centred(peak % width, width), centred(peak / width, height))
}

private fun centred(value: Int, length: Int) = (value + length / 2) % length - length / 2

private fun windowed(image: Values): DoubleArray {
    val mean = image.values.sum() / image.values.size
    val across = hann(image.width)
    val down = hann(image.height)
    return DoubleArray(image.values.size) { (image.values[it] - mean) * across[it % image.width] * down[it / image.width] }
}

private fun hann(n: Int) = DoubleArray(n) { if (n == 1) 1.0 else 0.5 - 0.5 * cos(2 * PI * it / (n - 1)) }

/** Of what both show; 0 where that is less than a quarter. */
private fun correlated(first: Values, second: Values, shift: Shift): Double {
    val box = commonPart(listOf(shift), first.width, first.height)
    if (box.width <= 0 || box.height <= 0 || 4L * box.width * box.height < first.width.toLong() * first.height) return 0.0
    fun part(image: Values, left: Int, top: Int) = DoubleArray(box.width * box.height) {
        image.values[(top + it / box.width) * image.width + left + it % box.width]
    }
    val a = part(first, box.left, box.top)
    val b = part(second, box.left + shift.right, box.top + shift.down)
    val meanA = a.average()
    val meanB = b.average()
    var (ab, aa, bb) = Triple(0.0, 0.0, 0.0)
    for (i in a.indices) {
        ab += (a[i] - meanA) * (b[i] - meanB)
        aa += (a[i] - meanA) * (a[i] - meanA)
        bb += (b[i] - meanB) * (b[i] - meanB)
    }
    return if (aa > 0 && bb > 0) ab / sqrt(aa * bb) else 0.0
}

/** Fourier transform of an image of complex values, in place. */
private fun transform(re: DoubleArray, im: DoubleArray, width: Int, height: Int) {
    val rows = Fourier(re, im, width)
    for (y in 0 until height) rows.line(y * width, 1)
    val columns = Fourier(re, im, height)
    for (x in 0 until width) columns.line(x, width)
}

/** Of lines of any length, by its prime factors. */
private class Fourier(private val re: DoubleArray, private val im: DoubleArray, private val length: Int) {
    private val cos = DoubleArray(length) { cos(-2 * PI * it / length) }
    private val sin = DoubleArray(length) { sin(-2 * PI * it / length) }
    private val outRe = DoubleArray(length)
    private val outIm = DoubleArray(length)
    private val a = DoubleArray(length)
    private val b = DoubleArray(length)

    fun line(from: Int, step: Int) {
        part(from, step, length, 0)
        for (i in 0 until length) {
            re[from + step * i] = outRe[i]
            im[from + step * i] = outIm[i]
        }
    }

    private fun part(from: Int, step: Int, n: Int, at: Int) {
        if (n == 1) {
            outRe[at] = re[from]
            outIm[at] = im[from]
            return
        }
        var p = 2
        while (n % p != 0) p++
        for (r in 0 until p) part(from + r * step, step * p, n / p, at + r * (n / p))
        if (p == 2) halves(n / 2, at) else combine(p, n / p, at)
    }

    private fun halves(m: Int, at: Int) {
        val stride = length / (2 * m)
        for (k in at until at + m) {
            val i = (k - at) * stride
            val x = outRe[k + m] * cos[i] - outIm[k + m] * sin[i]
            val y = outRe[k + m] * sin[i] + outIm[k + m] * cos[i]
            outRe[k + m] = outRe[k] - x
            outIm[k + m] = outIm[k] - y
            outRe[k] += x
            outIm[k] += y
        }
    }

    private fun combine(p: Int, m: Int, at: Int) {
        val stride = length / (p * m)
        for (k in 0 until m) {
            for (r in 0 until p) {
                a[r] = outRe[at + r * m + k]
                b[r] = outIm[at + r * m + k]
            }
            for (q in 0 until p) {
                var x = 0.0
                var y = 0.0
                var i = 0
                for (r in 0 until p) {
                    x += a[r] * cos[i] - b[r] * sin[i]
                    y += a[r] * sin[i] + b[r] * cos[i]
                    i = (i + (k + q * m) * stride) % length
                }
                outRe[at + q * m + k] = x
                outIm[at + q * m + k] = y
            }
        }
    }
}
