package pocketface.steps

import kotlin.math.ceil
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min

/** A face: box and landmarks in pixels of the picture, score 0 to 1. */
data class Face(
    val left: Double,
    val top: Double,
    val right: Double,
    val bottom: Double,
    val landmarks: List<Point>,
    val score: Double
) {
    val area: Double get() = max(right - left, 0.0) * max(bottom - top, 0.0)

    /** Whether a crop can be cut out: an extent of a pixel at least, landmarks that do not coincide. */
    val plausible: Boolean
        get() {
            fun reach(values: List<Double>) = values.sorted().run { last() - first() }
            val apart = max(reach(landmarks.map { it.x }), reach(landmarks.map { it.y })) >= 1
            return right - left >= 1 && bottom - top >= 1 && apart
        }

    /** Intersection over union with another face's box. */
    fun overlap(other: Face): Double {
        val width = min(right, other.right) - max(left, other.left)
        val height = min(bottom, other.bottom) - max(top, other.top)
        val shared = max(width, 0.0) * max(height, 0.0)
        return shared / max(area + other.area - shared, 1e-9)
    }

    /** Halfway between this face and another. */
    fun mean(other: Face): Face {
        fun half(a: Double, b: Double) = (a + b) / 2
        val points = landmarks.zip(other.landmarks) { a, b -> Point(half(a.x, b.x), half(a.y, b.y)) }
        return Face(
            half(left, other.left),
            half(top, other.top),
            half(right, other.right),
            half(bottom, other.bottom),
            points,
            score
        )
    }

    /** The face under z -> (z - shift + 0.5) / scale - 0.5. */
    fun mapped(shiftX: Double, shiftY: Double, scaleX: Double, scaleY: Double): Face {
        fun x(value: Double) = (value - shiftX + 0.5) / scaleX - 0.5
        fun y(value: Double) = (value - shiftY + 0.5) / scaleY - 0.5
        return Face(x(left), y(top), x(right), y(bottom), landmarks.map { Point(x(it.x), y(it.y)) }, score)
    }
}

/** Decodes the project's own detector (docs/architecture.md) from a TFLite graph, whose maps are NHWC. */
object Decoder {
    const val SCORE_THRESHOLD = 0.6
    private const val OVERLAP = 0.4
    private val STRIDES = listOf(8, 16, 32)

    /** Faces in pixels of the graph's input, best score first; [outputs] are flattened maps by name. */
    fun decode(
        outputs: Map<String, FloatArray>,
        width: Int,
        height: Int,
        threshold: Double = SCORE_THRESHOLD
    ): List<Face> {
        val logit = ln(threshold / (1 - threshold))
        val faces = ArrayList<Face>()
        for (stride in STRIDES) {
            val columns = width / stride
            val cells = columns * (height / stride)
            val scores = map(outputs, "score_$stride", cells)
            val boxes = map(outputs, "bbox_$stride", 4 * cells)
            val points = map(outputs, "kps_$stride", 10 * cells)
            for (cell in 0 until cells) {
                if (scores[cell] < logit) continue
                val x = cell % columns + 0.5
                val y = cell / columns + 0.5
                val face = Face(
                    (x - boxes[4 * cell]) * stride,
                    (y - boxes[4 * cell + 1]) * stride,
                    (x + boxes[4 * cell + 2]) * stride,
                    (y + boxes[4 * cell + 3]) * stride,
                    List(5) {
                        Point((x + points[10 * cell + 2 * it]) * stride, (y + points[10 * cell + 2 * it + 1]) * stride)
                    },
                    1 / (1 + exp(-scores[cell].toDouble()))
                )
                faces.add(face)
            }
        }
        return suppress(faces)
    }

    /** Greedy non-maximum suppression; best score first. */
    private fun suppress(faces: List<Face>): List<Face> {
        val kept = ArrayList<Face>()
        for (face in faces.sortedByDescending { it.score }) {
            if (kept.none { it.overlap(face) > OVERLAP }) kept.add(face)
        }
        return kept
    }

    private fun map(outputs: Map<String, FloatArray>, name: String, size: Int): FloatArray {
        val values = checkNotNull(outputs[name]) { "the detector has no output $name" }
        check(values.size == size) { "the detector's output $name has ${values.size} values, $size are expected" }
        return values
    }
}

/**
 * Finds faces with a detector whose input has a fixed size.
 *
 * @param width of the graph's input
 * @param height of the graph's input
 * @param run the graph: a picture of this size to its outputs by name
 */
class Detector(private val width: Int, private val height: Int, private val run: (Picture) -> Map<String, FloatArray>) {
    /** Faces of a picture, best score first. */
    fun detect(picture: Picture): List<Face> {
        val fitting = min(width.toDouble() / picture.width, height.toDouble() / picture.height)
        val first = view(picture, min(1.0, fitting), false)
        val found = judged(picture, first)
        if (found.isNotEmpty()) return lookCloser(picture, first, found)
        // Faces that fill the frame: smaller, with a margin.
        val smaller = CLOSE * min(width, height) / max(picture.width, picture.height)
        val close = view(picture, min(1.0, smaller), true)
        return lookCloser(picture, close, judged(picture, close))
    }

    /** Faces of a view; a doubtful score is the mean of three: its own and those of two looks at the face alone. */
    private fun judged(picture: Picture, seen: View): List<Face> {
        val faces = search(seen, DOUBTFUL)
        val doubtful = faces.filter { it.score < SURE }.take(MAX_LOOKS)
        val judged = faces.map { face ->
            if (face !in doubtful) return@map face
            val small = faceView(picture, face, JUDGED_FACE / (face.bottom - face.top))
            val shown = looks(face, faceView(picture, face, bestScale(face)), small)
            face.copy(score = (face.score + shown.map { it.score }.sum()) / 3)
        }
        return judged.filter { it.score >= Decoder.SCORE_THRESHOLD }.sortedByDescending { it.score }
    }

    /** Replaces boxes and landmarks not seen well by the mean of two looks at the face alone, one mirrored. */
    private fun lookCloser(picture: Picture, seen: View, faces: List<Face>): List<Face> {
        val unsure = faces.filter { (it.bottom - it.top) * seen.scaleY !in LEAST_SEEN..MOST_SEEN }
        val largest = unsure.sortedByDescending { it.area }.take(MAX_LOOKS)
        return faces.map { face ->
            if (face !in largest) return@map face
            val view = faceView(picture, face, bestScale(face))
            val shown = looks(face, view, view)
            if (shown.isEmpty()) face else shown.first().mean(shown.last()).copy(score = face.score)
        }
    }

    /** What one view of a face alone shows of it, and another, mirrored; none, one or two faces. */
    private fun looks(face: Face, plain: View, turned: View): List<Face> {
        val ours = search(plain, LOOK_SCORE)
        val theirs = search(turned.mirrored(), LOOK_SCORE).map { turned.mirroredBack(it) }
        return listOfNotNull(same(face, ours), same(face, theirs))
    }

    /** The one of [others] that is this face, or null. */
    private fun same(face: Face, others: List<Face>): Face? =
        others.sortedByDescending { it.overlap(face) }.firstOrNull()?.takeIf { it.overlap(face) > 0.5 }

    /** A picture as the graph sees it: canvas = (picture + 0.5) * scale - 0.5 + shift. */
    private class View(
        val canvas: Picture,
        val scaleX: Double,
        val scaleY: Double,
        val shiftX: Double,
        val shiftY: Double
    ) {
        fun mirrored(): View = View(canvas.mirrored(), scaleX, scaleY, shiftX, shiftY)

        /** A face that was found in the mirrored canvas, as it is in the picture. */
        fun mirroredBack(face: Face): Face {
            val total = (canvas.width - 2 * shiftX) / scaleX - 1
            val points = MIRRORED.map { Point(total - face.landmarks[it].x, face.landmarks[it].y) }
            return face.copy(left = total - face.right, right = total - face.left, landmarks = points)
        }
    }

    private fun search(view: View, threshold: Double): List<Face> =
        Decoder.decode(run(view.canvas), width, height, threshold)
        .map { it.mapped(view.shiftX, view.shiftY, view.scaleX, view.scaleY) }
        .filter { it.plausible }

    private fun view(picture: Picture, scale: Double, centred: Boolean): View {
        val columns = max(round(picture.width * scale), 1)
        val rows = max(round(picture.height * scale), 1)
        val small = picture.resize(columns, rows)
        val left = if (centred) (width - columns) / 2 else 0
        val top = if (centred) (height - rows) / 2 else 0
        val canvas = Picture(width, height)
        for (y in 0 until rows) {
            System.arraycopy(small.data, 3 * y * columns, canvas.data, 3 * ((top + y) * width + left), 3 * columns)
        }
        val scaleX = columns.toDouble() / picture.width
        val scaleY = rows.toDouble() / picture.height
        return View(canvas, scaleX, scaleY, left.toDouble(), top.toDouble())
    }

    /** The scale at which the landmarks of a face are found best. */
    private fun bestScale(face: Face): Double = min(1.0, LOOK_FACE / (face.bottom - face.top))

    /** One face alone. */
    private fun faceView(picture: Picture, face: Face, scale: Double): View {
        val half = (LOOK_SIDE / 2 - 1) / scale
        val x = (face.left + face.right) / 2
        val y = (face.top + face.bottom) / 2
        val left = clip(floor(x - half), 0, picture.width - 1)
        val top = clip(floor(y - half), 0, picture.height - 1)
        val right = max(clip(ceil(x + half), 1, picture.width), left + 1)
        val bottom = max(clip(ceil(y + half), 1, picture.height), top + 1)
        // Whole pixels may be a little more than the canvas holds.
        val fitting = min(width, height).toDouble() / max(right - left, bottom - top)
        val view = view(picture.cut(left, top, right, bottom), min(scale, fitting), true)
        val shiftX = view.shiftX - left * view.scaleX
        return View(view.canvas, view.scaleX, view.scaleY, shiftX, view.shiftY - top * view.scaleY)
    }

    private fun clip(value: Double, low: Int, high: Int): Int = min(max(value, low.toDouble()), high.toDouble()).toInt()

    /** Halves go to the even neighbour, as in Python. */
    private fun round(value: Double): Int {
        val lower = floor(value).toInt()
        return if (value - lower == 0.5) lower + lower % 2 else floor(value + 0.5).toInt()
    }

    private companion object {
        const val CLOSE = 0.6 // of the input's shorter side: 192 of 320 pixels
        const val DOUBTFUL = 0.3 // scores from which ...
        const val SURE = 0.8 // ... to below which two looks at the face alone decide
        const val JUDGED_FACE = 64.0 // the face's height in the second of them, mirrored
        const val LEAST_SEEN = 56.0 // heights on the canvas from which ...
        const val MOST_SEEN = 200.0 // ... to which more looks bring nothing
        const val LOOK_SIDE = 160 // side of the square with a face alone ...
        const val LOOK_FACE = 96.0 // ... and the face's height there
        const val LOOK_SCORE = 0.3 // less is nothing there
        const val MAX_LOOKS = 16 // so many doubtful faces and so many seen small or large get them
        val MIRRORED = listOf(1, 0, 2, 4, 3) // left and right eye and mouth corner change places
    }
}
