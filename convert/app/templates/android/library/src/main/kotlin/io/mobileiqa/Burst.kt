package io.mobileiqa

import java.io.IOException
import kotlin.math.abs
import kotlin.math.log2
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/**
 * A photo's place in a burst; [index]: in the list that was given. [margin]: how much better than the others, in bits;
 * [right], [down]: its shift in pixels; [detail] in bits, [noise] in grey levels, [stops] from the burst's median; [result]:
 * of the part that all photos show; [why]: what it lacks that the best one has.
 */
class Ranked internal constructor(
    @JvmField val index: Int,
    @JvmField val margin: Double,
    @JvmField val right: Int,
    @JvmField val down: Int,
    @JvmField val detail: Double,
    @JvmField val noise: Double,
    @JvmField val stops: Double,
    @JvmField val result: Result,
    @JvmField val why: String,
)

/** Photos of one scene, the best first, and why others are left out, by their place in the list that was given. */
class Burst internal constructor(@JvmField val ranked: List<Ranked>, @JvmField val leftOut: Map<Int, String>) {
    /** The one to keep. */
    val best: Int get() = ranked.first().index
}

private const val SAME_SCENE = 0.7 // correlation of reduced brightness, aligned
private const val WINDOW_PX = 32 // of detail
private const val FLATTEST = 0.05 // of the windows: what varies there is noise
private const val UNSEEN = 4.0 // variance, in grey levels squared, that nobody sees
private const val CLIPPED = 250.0 // grey level from which on noise is cut off
private const val SHADOW = 16.0 // and below which
private const val SCORE_BITS = 2.0 // what the whole range of the model's score weighs beside detail
private const val STOP_BITS = 2.0 // what a stop from the median weighs
private const val DISPLAY = 2.2 // brightness is about the power of this of a grey level

/**
 * The rule of `mobileiqa best`, whose docs say why. Each photo is opened twice: one is in memory at once, and a byte a pixel
 * of all. [range] of the score: negative where less is better. Throws where fewer than two photos show one scene.
 */
internal fun rankBurst(opened: List<() -> StoredPhoto>, range: Double, score: (StoredPhoto) -> Result): Burst {
    val leftOut = sortedMapOf<Int, String>()
    val greys = opened.indices.mapNotNull { index ->
        try {
            greyOf(index, opened[index]())
        } catch (error: IOException) {
            leftOut[index] = "not read: ${error.message}"
            null
        }
    }
    val same = ofOneSize(greys, leftOut)
    val shifts = oneScene(same)
    same.indices.forEach { if (shifts[it] == null) leftOut[same[it].index] = "of another scene" }
    val burst = same.zip(shifts).mapNotNull { (grey, shift) -> shift?.let { grey to it } }
    val box = if (burst.isEmpty()) Box(0, 0, 0, 0) else commonPart(burst.map { it.second }, same[0].width, same[0].height)
    require(burst.size > 1 && min(box.width, box.height) >= 3 * WINDOW_PX) {
        "expected two or more photos of one scene; found ${leftOut.ifEmpty { burst.size }}"
    }
    return Burst(ranked(measured(burst, box, opened, score), range), leftOut)
}

/** Those of the commonest size, the widest of several. */
private fun ofOneSize(greys: List<Grey>, leftOut: MutableMap<Int, String>): List<Grey> {
    fun count(grey: Grey) = greys.count { it.width == grey.width && it.height == grey.height }
    val size = greys.maxWithOrNull(compareBy({ count(it) }, { it.width }, { it.height })) ?: return greys
    val (same, others) = greys.partition { it.width == size.width && it.height == size.height }
    others.forEach { leftOut[it.index] = "of another size (${it.width}x${it.height})" }
    return same
}

/** Shifts against the first photo that at least half of the others match; null for those that do not match it. */
private fun oneScene(greys: List<Grey>): List<Shift?> {
    var best = emptyList<Shift?>()
    for (first in greys) {
        val shifts = greys.map { grey ->
            val (shift, correlation) = if (grey === first) Shift(0, 0) to 1.0 else align(first, grey)
            shift.takeIf { correlation >= SAME_SCENE }
        }
        if (shifts.count { it != null } > best.count { it != null }) best = shifts
        if (2 * best.count { it == null } <= best.size) break
    }
    return best
}

private class Measure(
    val index: Int,
    val shift: Shift,
    val detail: Double,
    val noise: Double,
    val stops: Double,
    val result: Result,
) {
    val away = STOP_BITS * abs(stops)

    fun points(range: Double) = SCORE_BITS * result.score / range

    fun worth(range: Double) = detail + points(range) - away
}

private fun measured(
    burst: List<Pair<Grey, Shift>>,
    box: Box,
    opened: List<() -> StoredPhoto>,
    score: (StoredPhoto) -> Result,
): List<Measure> {
    val boxes = burst.map { (_, shift) -> Box(box.left + shift.right, box.top + shift.down, box.width, box.height) }
    val parts = burst.zip(boxes) { (grey, _), part -> grey.cut(part) }
    val detail = detailAndNoise(parts)
    val stops = parts.map { part ->
        var sum = 0L
        for (i in part.pixels.indices) sum += part.at(i)
        DISPLAY * log2(max(sum.toDouble() / part.pixels.size, 1.0))
    }
    val median = percentile(stops, 0.5)
    return burst.indices.map { i ->
        val (grey, shift) = burst[i]
        val result = score(PartPhoto(opened[grey.index](), boxes[i]))
        Measure(grey.index, shift, detail[i].first, detail[i].second, stops[i] - median, result)
    }
}

/** Detail in bits, and noise as a deviation in grey levels, of aligned parts of one shape. */
internal fun detailAndNoise(parts: List<Grey>): List<Pair<Double, Double>> {
    val windows = parts.map(::windows)
    val count = windows[0].first.size
    val middle = (0 until count).filter { i -> windows.all { (_, means) -> means[i] > SHADOW && means[i] < CLIPPED } }
    val usable = if (middle.size >= 20) middle else (0 until count).toList()
    return windows.map { (energies, _) ->
        val noise = percentile(usable.map { energies[it] }, FLATTEST)
        val detail = energies.map { log2(1 + max(it - noise, 0.0) / (noise + UNSEEN)) }.average()
        detail to sqrt(noise / 20) // 20: the filter's own gain of white noise
    }
}

/** Of each window: the mean square of the Laplacian, and the mean grey level. */
private fun windows(part: Grey): Pair<DoubleArray, DoubleArray> {
    val columns = part.width / WINDOW_PX
    val energies = DoubleArray(columns * (part.height / WINDOW_PX))
    val means = DoubleArray(energies.size)
    val area = WINDOW_PX * WINDOW_PX
    for (y in 0 until part.height / WINDOW_PX * WINDOW_PX) for (x in 0 until columns * WINDOW_PX) {
        val i = y * part.width + x
        val window = y / WINDOW_PX * columns + x / WINDOW_PX
        means[window] += part.at(i).toDouble() / area
        if (x == 0 || y == 0 || x == part.width - 1 || y == part.height - 1) continue
        val edge = 4 * part.at(i) - part.at(i - part.width) - part.at(i + part.width) - part.at(i - 1) - part.at(i + 1)
        energies[window] += edge.toDouble() * edge / area
    }
    return energies to means
}

private fun percentile(values: List<Double>, share: Double): Double {
    val sorted = values.sorted()
    val place = share * (sorted.size - 1)
    val low = place.toInt()
    return sorted[low] + (place - low) * (sorted[min(low + 1, sorted.size - 1)] - sorted[low])
}

private fun ranked(measures: List<Measure>, range: Double): List<Ranked> {
    val best = measures.maxByOrNull { it.worth(range) }!!
    val total = measures.sumOf { it.worth(range) }
    return measures.map { m ->
        val worth = m.worth(range)
        val margin = worth - (total - worth) / (measures.size - 1)
        val why = if (m === best) "" else why(m, best, range)
        Ranked(m.index, margin, m.shift.right, m.shift.down, m.detail, m.noise, m.stops, m.result, why)
    }.sortedByDescending { it.margin }
}

/** What the photo lacks most. */
private fun why(measure: Measure, best: Measure, range: Double): String = linkedMapOf(
    (if (measure.noise > 1.2 * best.noise + 0.2) "noisier" else "softer") to best.detail - measure.detail,
    (if (measure.stops > best.stops) "brighter" else "darker") to measure.away - best.away,
    "lower score" to best.points(range) - measure.points(range),
).maxByOrNull { it.value }!!.key
