package io.mobileiqa

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin

/** A photo as it is stored; its rows are read once, from top to bottom, so that any size fits into memory. */
internal interface StoredPhoto {
    val width: Int
    val height: Int

    /** EXIF's, 1 to 8. */
    val orientation: Int

    /** Calls [take] for every row: its pixels 0xRRGGBB (what is above is not looked at), sRGB. The array is used again. */
    fun rows(take: (y: Int, row: IntArray) -> Unit)
}

/** Each view's pixels, height * width * 3 bytes RGB: what mobileiqa.preprocess makes in Python, to the last bit. */
internal fun makeViews(photo: StoredPhoto, views: List<View>): List<ByteArray> {
    require(photo.width > 0 && photo.height > 0) { "expected a photo with pixels" }
    val turn = Turn(photo.orientation)
    val makers = views.map {
        if (it.fit == "resize") ResizedView(it, photo.width, photo.height, turn)
        else PickedView(it, photo.width, photo.height, turn)
    }
    photo.rows { y, row -> makers.forEach { it.row(y, row) } }
    return makers.map { it.pixels }
}

/** Normalised planes, as a file with float inputs takes them. */
internal fun normalised(pixels: ByteArray, view: View): FloatArray {
    val area = pixels.size / 3
    val planes = FloatArray(pixels.size)
    for (channel in 0 until 3) {
        val table = FloatArray(256) { ((it / 255.0 - view.mean[channel]) / view.std[channel]).toFloat() }
        for (i in 0 until area) planes[channel * area + i] = table[pixels[3 * i + channel].toInt() and 255]
    }
    return planes
}

/** How a photo is turned: which stored axis is which, and which is read backwards. */
internal class Turn(orientation: Int) {
    val swaps = orientation in 5..8
    val flipsColumns = orientation in intArrayOf(2, 3, 7, 8)
    val flipsRows = orientation in intArrayOf(3, 4, 6, 7)
}

internal abstract class ViewMaker(view: View) {
    val pixels = ByteArray(3 * view.width * view.height)

    abstract fun row(y: Int, row: IntArray)
}

/** Output i is the sum over k of weights[i][k] * input[first[i] + k], in Pillow's fixed point. */
internal class AxisWeights(val first: IntArray, val weights: Array<IntArray>) {
    /** The same axis read from its other end. */
    fun mirrored(inputs: Int) = AxisWeights(
        IntArray(first.size) { inputs - first[it] - weights[it].size },
        Array(weights.size) { weights[it].reversedArray() },
    )
}

internal const val BITS = 22 // of Pillow's fixed-point weights

/** What Pillow makes [outputs] pixels of [inputs] with, along one axis; antialiased where it shrinks. */
internal fun pillowWeights(inputs: Int, outputs: Int, filter: String): AxisWeights {
    if (inputs == outputs) return AxisWeights(IntArray(outputs) { it }, Array(outputs) { intArrayOf(1 shl BITS) })
    val reach = when (filter) {
        "bilinear" -> 1.0
        "bicubic" -> 2.0
        else -> 3.0
    }
    val scale = inputs.toDouble() / outputs
    val stretch = max(scale, 1.0)
    val support = reach * stretch
    val first = IntArray(outputs)
    val weights = Array(outputs) { i ->
        val centre = (i + 0.5) * scale
        first[i] = max((centre - support + 0.5).toInt(), 0)
        val end = min((centre + support + 0.5).toInt(), inputs)
        val values = DoubleArray(end - first[i]) { kernel(filter, (first[i] + it - centre + 0.5) * (1.0 / stretch)) }
        var sum = 0.0
        for (value in values) sum += value
        IntArray(values.size) {
            val share = values[it] / sum
            (share * (1 shl BITS) + if (share < 0) -0.5 else 0.5).toInt()
        }
    }
    return AxisWeights(first, weights)
}

private fun kernel(filter: String, signed: Double): Double {
    val x = abs(signed)
    return when (filter) {
        "bilinear" -> if (x < 1) 1 - x else 0.0
        "bicubic" -> { // Keys' cubic with a = -1/2
            val a = -0.5
            if (x < 1) ((a + 2) * x - (a + 3)) * x * x + 1 else if (x < 2) (((x - 5) * x + 8) * x - 4) * a else 0.0
        }
        else -> if (x < 3) sinc(x) * sinc(x / 3) else 0.0
    }
}

private fun sinc(x: Double) = if (x == 0.0) 1.0 else sin(x * PI) / (x * PI)

private fun clipped(sum: Int): Int = min(max(sum shr BITS, 0), 255)

/**
 * Pillow resizes the upright photo in two passes, rounded to 8 bits in between. The first runs along stored rows or sums
 * stored rows, depending on how the photo lies. Sums of integers have no order, so the result is the same.
 */
internal class ResizedView(private val view: View, width: Int, height: Int, turn: Turn) : ViewMaker(view) {
    private val swaps = turn.swaps
    private val rowsFirst = if (swaps) !verticalFirst(height, width) else verticalFirst(width, height)
    private val outputs = if (swaps) view.height else view.width // along a stored row
    private val columns = pillowWeights(width, outputs, view.filter).let { if (turn.flipsColumns) it.mirrored(width) else it }
    private val lines = pillowWeights(height, if (swaps) view.width else view.height, view.filter)
        .let { if (turn.flipsRows) it.mirrored(height) else it }
    private val sums = arrayOfNulls<IntArray>(lines.first.size)
    private val line = IntArray(3 * if (rowsFirst) width else outputs)
    private val wide = IntArray(3 * width)

    /** Whether Pillow (13 and later) resizes upright columns first: where the height loses over twice what the width does. */
    private fun verticalFirst(width: Int, height: Int) =
        view.height < height && height - view.height > 2 * (width - view.width)

    override fun row(y: Int, row: IntArray) {
        for (x in row.indices) {
            val pixel = row[x]
            wide[3 * x] = pixel shr 16 and 255
            wide[3 * x + 1] = pixel shr 8 and 255
            wide[3 * x + 2] = pixel and 255
        }
        if (rowsFirst) wide.copyInto(line) else along(wide, line)
        for (i in sums.indices) {
            val k = y - lines.first[i]
            val weights = lines.weights[i]
            if (k < 0 || k >= weights.size) continue
            val sum = sums[i] ?: IntArray(line.size) { 1 shl (BITS - 1) }.also { sums[i] = it }
            val weight = weights[k]
            for (x in sum.indices) sum[x] += weight * line[x]
            if (k == weights.size - 1) finish(i, sum)
        }
    }

    private fun finish(index: Int, sum: IntArray) {
        sums[index] = null
        for (x in sum.indices) sum[x] = clipped(sum[x])
        val values = if (rowsFirst) IntArray(3 * outputs).also { along(sum, it) } else sum
        for (i in 0 until outputs) {
            val to = 3 * if (swaps) i * view.width + index else index * view.width + i
            for (channel in 0 until 3) pixels[to + channel] = values[3 * i + channel].toByte()
        }
    }

    private fun along(from: IntArray, to: IntArray) {
        for (i in 0 until outputs) {
            var red = 1 shl (BITS - 1)
            var green = red
            var blue = red
            var at = 3 * columns.first[i]
            for (weight in columns.weights[i]) {
                red += weight * from[at]
                green += weight * from[at + 1]
                blue += weight * from[at + 2]
                at += 3
            }
            to[3 * i] = clipped(red)
            to[3 * i + 1] = clipped(green)
            to[3 * i + 2] = clipped(blue)
        }
    }
}

/** Pixels as they are: where each column and each row of the view comes from, -1 for black. */
internal class PickedView(private val view: View, width: Int, height: Int, turn: Turn) : ViewMaker(view) {
    private val swaps = turn.swaps
    private val columns = axis(width, if (swaps) view.height else view.width, turn.flipsColumns)
    private val lines = axis(height, if (swaps) view.width else view.height, turn.flipsRows)

    private fun axis(length: Int, outputs: Int, flips: Boolean): IntArray {
        val sources = if (view.fit == "fragments") fragments(length, outputs) else centre(length, outputs)
        return if (flips) IntArray(outputs) { if (sources[it] < 0) -1 else length - 1 - sources[it] } else sources
    }

    /** Patches from the middle of each cell; a side shorter than one is mirrored. */
    private fun fragments(length: Int, outputs: Int): IntArray {
        val padded = max(length, view.patch)
        val count = outputs / view.patch
        return IntArray(outputs) {
            val middle = (2L * (it / view.patch) + 1) * padded / (2 * count) - view.patch / 2
            val start = middle.coerceIn(0L, (padded - view.patch).toLong()).toInt()
            val at = (start + it % view.patch) % (2 * length)
            if (at < length) at else 2 * length - 1 - at
        }
    }

    /** A centred window; cutting rounds half to even, padding puts the odd pixel on the far side. */
    private fun centre(length: Int, outputs: Int): IntArray {
        val over = length - outputs
        val start = if (over < 0) -(-over / 2) else over / 2 + if (over % 2 == 1 && over / 2 % 2 == 1) 1 else 0
        return IntArray(outputs) { if (start + it in 0 until length) start + it else -1 }
    }

    override fun row(y: Int, row: IntArray) {
        for (i in lines.indices) {
            if (lines[i] != y) continue
            for (k in columns.indices) {
                if (columns[k] < 0) continue
                val pixel = row[columns[k]]
                val to = 3 * if (swaps) k * view.width + i else i * view.width + k
                pixels[to] = (pixel shr 16).toByte()
                pixels[to + 1] = (pixel shr 8).toByte()
                pixels[to + 2] = pixel.toByte()
            }
        }
    }
}
