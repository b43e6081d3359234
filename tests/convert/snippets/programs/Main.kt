import android.content.res.AssetManager
import android.graphics.Bitmap
import bridge.Bridge
import java.io.File
import kotlin.system.exitProcess

/** MODEL PHOTO WIDTH HEIGHT COMMAND...: what the Kotlin snippet says of itself, of a photo, and of one of another size. */
fun main(words: Array<String>) {
    Bridge.start(*words.drop(4).toTypedArray())
    val rgb = File(words[1]).readBytes()
    val (width, height) = words[2].toInt() to words[3].toInt()
    CameraScorer(AssetManager()).use { scorer ->
        val wrong = scorer.selfTest()
        println("wrong ${wrong.size}$wrong")
        println("score ${scorer.score(Bitmap(rgb, width, height))}")
        try {
            scorer.score(Bitmap(rgb, width, height - 1))
        } catch (error: IllegalArgumentException) {
            println("refused ${error.message}")
        }
    }
    exitProcess(0)
}
