@file:JvmName("CameraFrames")

package io.mobileiqa

import android.graphics.ImageFormat
import android.graphics.PixelFormat
import androidx.camera.core.ImageProxy

// Frames of CameraX, in a file of its own: an app without CameraX never loads it. The frame may be closed when the function
// has returned, with a callback when that was called.

/** Scores a frame in YUV_420_888, RGBA_8888 or JPEG, turned as the camera says. */
suspend fun PhotoScorer.score(frame: ImageProxy): Result = confined { scored(opened(frame)) }

fun PhotoScorer.scoreBlocking(frame: ImageProxy): Result = blocking { scored(opened(frame)) }

fun PhotoScorer.score(frame: ImageProxy, callback: PhotoScorer.Callback) = later(callback) { scored(opened(frame)) }

private fun PhotoScorer.opened(frame: ImageProxy): StoredPhoto {
    val turn = orientationOf(frame.imageInfo.rotationDegrees)
    val planes = frame.planes.map { plane ->
        val buffer = plane.buffer.duplicate().apply { rewind() }
        Plane(ByteArray(buffer.remaining()).also(buffer::get), plane.rowStride, plane.pixelStride)
    }
    return when (frame.format) {
        ImageFormat.YUV_420_888 -> Yuv420Photo(planes[0], planes[1], planes[2], frame.width, frame.height, turn)
        PixelFormat.RGBA_8888 -> RgbaPhoto(planes[0], frame.width, frame.height, turn)
        ImageFormat.JPEG -> photos.open(planes[0].bytes, "the frame")
        else -> throw IllegalArgumentException("expected a frame in YUV_420_888, RGBA_8888 or JPEG; found ${frame.format}")
    }
}

/** Red, green, blue and alpha, which a camera has no use for. */
internal class RgbaPhoto(
    private val plane: Plane,
    override val width: Int,
    override val height: Int,
    override val orientation: Int,
) : StoredPhoto {
    override fun rows(take: (y: Int, row: IntArray) -> Unit) {
        val row = IntArray(width)
        for (y in 0 until height) {
            for (x in 0 until width) {
                val at = y * plane.rowStride + x * plane.pixelStride
                row[x] = (0 until 3).fold(0) { pixel, i -> pixel shl 8 or (plane.bytes[at + i].toInt() and 255) }
            }
            take(y, row)
        }
    }
}
