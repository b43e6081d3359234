package io.mobileiqa.sample

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import io.mobileiqa.PhotoScorer
import io.mobileiqa.Result
import java.util.concurrent.Executors

/** Picks a photo and shows its score and what lowers it. */
class MainActivity : Activity() {
    private val background = Executors.newSingleThreadExecutor()
    private lateinit var text: TextView
    private var scorer: PhotoScorer? = null // of the background thread

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        text = TextView(this)
        val pick = Button(this).apply { text = "Pick a photo" }
        pick.setOnClickListener {
            startActivityForResult(Intent(Intent.ACTION_OPEN_DOCUMENT).setType("image/*"), PICK)
        }
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            addView(pick)
            addView(text)
        })
        background.execute {
            say { "runs on ${opened().accelerator}" }
        }
    }

    override fun onActivityResult(request: Int, code: Int, data: Intent?) {
        super.onActivityResult(request, code, data)
        val photo = data?.data ?: return
        background.execute { say { described(opened().scoreBlocking(photo)) } }
    }

    override fun onDestroy() {
        background.execute { scorer?.close() }
        background.shutdown()
        super.onDestroy()
    }

    private fun opened(): PhotoScorer =
        scorer ?: PhotoScorer.open(this, PhotoScorer.Options(gpu = true)).also { scorer = it }

    private fun described(result: Result) =
        "%.3f (%s)\n".format(result.score, result.label) + result.reasons.take(3).joinToString("\n")

    private fun say(report: () -> String) {
        val words = try {
            report()
        } catch (error: Exception) {
            "${error.message}"
        }
        runOnUiThread { text.text = words }
    }

    private companion object {
        const val PICK = 1
    }
}
