package io.mobileiqa

import java.security.MessageDigest
import kotlin.math.abs
import kotlin.math.floor

/** What lowers the quality, and how probable that is. */
class Reason internal constructor(@JvmField val name: String, @JvmField val probability: Float) {
    override fun toString() = "$name $probability"
}

/**
 * What the model says of a photo. [reasons]: the likeliest first; empty for a file that gives none. [label]: excellent,
 * good, fair, poor or bad, a fifth of the score's range each.
 */
class Result internal constructor(
    @JvmField val score: Float,
    @JvmField val reasons: List<Reason>,
    @JvmField val label: String,
) {
    override fun toString() = "$score ($label) $reasons"
}

/** What runs the model, "cpu" or "gpu", and why it is not what was asked for. */
class Choice internal constructor(@JvmField val accelerator: String, @JvmField val why: String) {
    override fun toString() = if (why.isEmpty()) accelerator else "$accelerator: $why"
}

/** The file, the runtime or the app's own decoding is wrong: do not score with it. */
class SelfTestFailed internal constructor(@JvmField val problems: List<String>) :
    IllegalStateException("the self-test fails: ${problems.joinToString("; ")}")

/** The model on one accelerator: views in, score and reasons out. */
internal interface Runner : AutoCloseable {
    fun run(views: List<ByteArray>): FloatArray
}

/** Opens a golden photo; null for a format that the platform does not read. */
internal typealias OpenPhoto = (file: String) -> StoredPhoto?

/** What was found before, kept for as long as neither file, library nor system changes. */
internal interface Memory {
    fun get(): Choice?

    fun put(choice: Choice)
}

internal fun resultOf(values: FloatArray, facts: ModelFacts): Result {
    val share = (values[0] - facts.low) / (facts.high - facts.low)
    val good = if (facts.higherIsBetter) share else 1 - share
    val label = LABELS[floor(good * LABELS.size).toInt().coerceIn(LABELS.indices)]
    val reasons = facts.reasons.mapIndexed { i, name -> Reason(name, values[i + 1]) }
    return Result(values[0], reasons.sortedByDescending { it.probability }, label)
}

private val LABELS = listOf("bad", "poor", "fair", "good", "excellent")

/** What is wrong with [run]: drawn images test file, views and runtime, golden photos also the decoder and colours. */
internal fun selfTest(run: Runner, facts: ModelFacts, open: OpenPhoto): List<String> {
    val problems = mutableListOf<String>()
    fun check(name: String, photo: StoredPhoto, expected: List<Double>, tolerance: Double) {
        val values = run.run(makeViews(photo, facts.views)).asList()
        val close = values.size == expected.size &&
            values.zip(expected).all { (a, b) -> abs(a - b) <= tolerance } // false for NaN
        if (!close) problems += "$name: $values, expected $expected within $tolerance"
    }
    for (each in facts.drawn) {
        val image = RgbPhoto(draw(each.image, each.width, each.height), each.width, each.height)
        check("drawn ${each.image}", image, each.expected, facts.tolerance)
    }
    for (each in facts.photos) open(each.file)?.let { check(each.what, it, each.expected, each.tolerance) }
    return problems
}

/**
 * The accelerator that may run the file, and the file opened on it. The GPU only where it was asked for, the file may run
 * there and all golden images and photos pass there; else the CPU, which must pass, too. Once: [memory] keeps the answer.
 */
internal fun choose(
    gpu: Boolean,
    facts: ModelFacts,
    memory: Memory,
    openPhoto: OpenPhoto,
    open: (accelerator: String) -> Runner,
): Pair<Choice, Runner> {
    memory.get()?.let { known ->
        if (known.accelerator == "cpu" || gpu) {
            try {
                return known to open(known.accelerator)
            } catch (error: Exception) {
                // What worked before does not today: all of it is tested again.
            }
        }
    }
    var why = "the GPU was not asked for"
    if (gpu) why = facts.gpuRefused
    if (why.isEmpty()) {
        val (runner, problem) = tried { open("gpu") }
        val problems = if (runner == null) listOf(problem) else tested(runner, facts, openPhoto)
        if (runner != null && problems.isEmpty()) return (Choice("gpu", "") to runner).also { memory.put(it.first) }
        runner?.close()
        why = if (runner == null) "the GPU does not run the file: $problem" else "the GPU fails the self-test: ${problems[0]}"
    }
    val runner = open("cpu")
    val problems = tested(runner, facts, openPhoto)
    if (problems.isNotEmpty()) {
        runner.close()
        throw SelfTestFailed(problems)
    }
    return (Choice("cpu", why) to runner).also { memory.put(it.first) }
}

private fun tested(runner: Runner, facts: ModelFacts, openPhoto: OpenPhoto): List<String> = try {
    selfTest(runner, facts, openPhoto)
} catch (error: Exception) {
    listOf("$error")
}

private fun tried(open: () -> Runner): Pair<Runner?, String> = try {
    open() to ""
} catch (error: Exception) {
    null to "${error.message}"
} catch (error: LinkageError) { // the artifact litert-gpu is not in the app
    null to "$error"
}

/** SHA-256 in hexadecimal digits. */
internal fun sha256(read: (ByteArray) -> Int): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val block = ByteArray(1 shl 16)
    while (true) {
        val count = read(block)
        if (count < 0) break
        digest.update(block, 0, count)
    }
    return digest.digest().joinToString("") { "%02x".format(it) }
}

/** The golden image [name], in unsigned 32-bit arithmetic. */
internal fun draw(name: String, width: Int, height: Int): ByteArray {
    val (w, h) = width.toUInt() to height.toUInt()
    val rgb = ByteArray(3 * width * height)
    var at = 0
    for (y in 0u until h) for (x in 0u until w) for (c in 0u until 3u) {
        rgb[at++] = level(name, x, y, c, w, h).toByte()
    }
    return rgb
}

private fun level(name: String, x: UInt, y: UInt, c: UInt, w: UInt, h: UInt): UInt = when (name) {
    "ramp" -> {
        val across = x * 255u / maxOf(w - 1u, 1u)
        val down = y * 255u / maxOf(h - 1u, 1u)
        if (c == 0u) across else if (c == 1u) down else (across + down) / 2u
    }
    "tiles" -> (x / 16u * 73u + y / 16u * 151u + c * 37u) and 255u
    else -> { // noise
        val mixed = ((y * w + x) * 3u + c) * 2654435769u
        ((mixed xor (mixed shr 15)) * 2246822519u) shr 24
    }
}
