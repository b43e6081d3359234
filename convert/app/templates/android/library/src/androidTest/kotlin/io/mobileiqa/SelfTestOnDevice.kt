package io.mobileiqa

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith

/** On a phone or in a device farm: golden images and photos score as in Python; which accelerator passed is printed. */
@RunWith(AndroidJUnit4::class)
class SelfTestOnDevice {
    private val context = InstrumentationRegistry.getInstrumentation().targetContext

    @Test
    fun cpuScoresAsPython() = check(PhotoScorer.Options())

    @Test
    fun whatIsChosenScoresAsPython() = check(PhotoScorer.Options(gpu = true))

    private fun check(options: PhotoScorer.Options) = PhotoScorer.open(context, options).use { scorer ->
        println("mobileiqa runs on ${scorer.accelerator}")
        assertEquals(emptyList<String>(), scorer.selfTestBlocking())
    }
}
