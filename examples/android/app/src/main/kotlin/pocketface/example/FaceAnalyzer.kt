package pocketface.example

import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import pocketface.steps.Alignment
import pocketface.steps.Comparison
import pocketface.steps.Detector
import pocketface.steps.Picture

/**
 * Describes the largest face of each camera frame.
 *
 * @param describe called on the analysis thread with the number of faces and the largest one's embedding
 */
class FaceAnalyzer(
    private val detectorModel: Model,
    private val embedder: Model,
    private val describe: (faces: Int, embedding: FloatArray?) -> Unit
) : ImageAnalysis.Analyzer {
    private val detector = Detector(detectorModel.width, detectorModel.height, detectorModel::run)

    override fun analyze(frame: ImageProxy) {
        val picture = frame.use { upright(it) }
        val faces = detector.detect(picture)
        val largest = faces.sortedByDescending { it.area }.firstOrNull()
        val embedding = largest?.let {
            Comparison.normalised(embedder.run(Alignment.align(picture, it.landmarks)).values.single())
        }
        describe(faces.size, embedding)
    }

    /** An RGBA frame as RGB, turned upright. */
    private fun upright(frame: ImageProxy): Picture {
        val plane = frame.planes[0]
        val rotation = frame.imageInfo.rotationDegrees // clockwise
        val swapped = rotation % 180 != 0
        val picture = Picture(if (swapped) frame.height else frame.width, if (swapped) frame.width else frame.height)
        for (y in 0 until picture.height) {
            for (x in 0 until picture.width) {
                val (column, row) = when (rotation) {
                    90 -> Pair(y, frame.height - 1 - x)
                    180 -> Pair(frame.width - 1 - x, frame.height - 1 - y)
                    270 -> Pair(frame.width - 1 - y, x)
                    else -> Pair(x, y)
                }
                val from = row * plane.rowStride + column * plane.pixelStride
                val to = 3 * (y * picture.width + x)
                for (channel in 0 until 3) {
                    picture.data[to + channel] = plane.buffer.get(from + channel)
                }
            }
        }
        return picture
    }
}
