package pocketface.steps

import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.hypot
import kotlin.math.max
import kotlin.math.min

/** x and y in pixels; the centre of the first pixel is (0, 0). */
data class Point(val x: Double, val y: Double) {
    operator fun plus(other: Point) = Point(x + other.x, y + other.y)
    operator fun minus(other: Point) = Point(x - other.x, y - other.y)
    operator fun times(factor: Double) = Point(x * factor, y * factor)

    /** Product as complex numbers: a turn and a scale. */
    operator fun times(other: Point) = Point(x * other.x - y * other.y, y * other.x + x * other.y)
}

/** A similarity transform z -> a z + b of the plane, in complex numbers. */
data class Similarity(val a: Point, val b: Point) {
    fun inverse(): Similarity {
        val norm = a.x * a.x + a.y * a.y
        val inverse = Point(a.x / norm, -a.y / norm)
        return Similarity(inverse, Point(0.0, 0.0) - inverse * b)
    }
}

/** Cuts a face out of a picture so that its landmarks lie where the embedder was taught to expect them. */
object Alignment {
    const val CROP_SIZE = 112

    /** Left eye, right eye, nose tip, left and right mouth corner (Deng et al., "ArcFace", CVPR 2019). */
    val TEMPLATE = listOf(
        Point(38.2946, 51.6963), Point(73.5318, 51.5014), Point(56.0252, 71.7366),
        Point(41.5493, 92.3655), Point(70.7299, 92.2041)
    )

    private const val OVERSAMPLE_ABOVE = 1.2 // picture pixels a crop pixel

    /** The least-squares similarity transform from a picture to the crop. */
    fun estimate(landmarks: List<Point>): Similarity {
        require(landmarks.size == 5) { "five landmarks are needed" }
        val from = landmarks.reduce(Point::plus) * 0.2
        val to = TEMPLATE.reduce(Point::plus) * 0.2
        var spread = 0.0
        var a = Point(0.0, 0.0)
        for ((point, target) in landmarks.zip(TEMPLATE)) {
            val d = point - from
            spread += d.x * d.x + d.y * d.y
            a += Point(d.x, -d.y) * (target - to)
        }
        require(spread > 1e-6 && hypot(a.x, a.y) / spread >= 1e-6) { "landmarks coincide; no face can be cut out" }
        a *= 1 / spread
        return Similarity(a, to - a * from)
    }

    /** The 112 x 112 crop; averages instead of aliasing, black where the picture ends. */
    fun align(picture: Picture, landmarks: List<Point>): Picture {
        val (turn, offset) = estimate(landmarks).inverse()
        val shrink = hypot(turn.x, turn.y) // picture pixels per crop pixel
        // Bilinear sampling sees about two pixels: whole factors are averaged before it, the rest after it.
        val before = max(shrink.toInt(), 1)
        val after = if (shrink / before > OVERSAMPLE_ABOVE) 2 else 1

        val ends = listOf(-1.0, CROP_SIZE.toDouble())
        val corners = ends.flatMap { y -> ends.map { x -> turn * Point(x, y) + offset } }
        val columns = corners.map { it.x }.sorted()
        val rows = corners.map { it.y }.sorted()
        val margin = 2 * before
        val left = clip(floor(columns.first()) - margin, picture.width)
        val top = clip(floor(rows.first()) - margin, picture.height)
        val right = clip(ceil(columns.last()) + margin, picture.width)
        val bottom = clip(ceil(rows.last()) + margin, picture.height)
        if (left >= right || top >= bottom) return Picture(CROP_SIZE, CROP_SIZE)
        val region = picture.cut(left, top, right, bottom).reduce(before)

        val half = Point(0.5, 0.5)
        val start = (offset + half - turn * half - Point(left.toDouble(), top.toDouble())) * (1.0 / before)
        return sample(region, turn * (1.0 / (before * after)), start, CROP_SIZE * after).reduce(after)
    }

    private fun clip(value: Double, limit: Int): Int = min(max(value, 0.0), limit.toDouble()).toInt()

    /** Bilinear samples at turn z + start, counted from the corner of the first pixel. */
    private fun sample(picture: Picture, turn: Point, start: Point, side: Int): Picture {
        val out = Picture(side, side)
        for (v in 0 until side) {
            for (u in 0 until side) {
                val x = turn.x * (u + 0.5) - turn.y * (v + 0.5) + start.x
                val y = turn.y * (u + 0.5) + turn.x * (v + 0.5) + start.y
                if (x < 0 || x >= picture.width || y < 0 || y >= picture.height) continue
                val x0 = floor(x - 0.5).toInt()
                val y0 = floor(y - 0.5).toInt()
                val dx = x - 0.5 - x0
                val dy = y - 0.5 - y0
                val left = max(x0, 0)
                val right = min(x0 + 1, picture.width - 1)
                val upper = max(y0, 0) * picture.width
                val lower = min(y0 + 1, picture.height - 1) * picture.width
                for (channel in 0 until 3) {
                    val upperLeft = picture.value(3 * (upper + left) + channel)
                    val lowerLeft = picture.value(3 * (lower + left) + channel)
                    val above = upperLeft + (picture.value(3 * (upper + right) + channel) - upperLeft) * dx
                    val below = lowerLeft + (picture.value(3 * (lower + right) + channel) - lowerLeft) * dx
                    out.data[3 * (v * side + u) + channel] = (above + (below - above) * dy).toInt().toByte()
                }
            }
        }
        return out
    }
}
