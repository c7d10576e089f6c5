package pocketface.steps

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** RGB pixels, 8 bits a channel, rows from the top, upright. */
class Picture(val width: Int, val height: Int, val data: ByteArray = ByteArray(3 * width * height)) {
    init {
        require(data.size == 3 * width * height) { "a picture of $width x $height needs ${3 * width * height} bytes" }
    }

    /** A channel's value at an index of [data], 0 to 255. */
    fun value(index: Int): Int = data[index].toInt() and 0xff

    /** The part from (left, top) up to, not including, (right, bottom). */
    fun cut(left: Int, top: Int, right: Int, bottom: Int): Picture {
        val out = Picture(right - left, bottom - top)
        for (y in 0 until out.height) {
            System.arraycopy(data, 3 * ((top + y) * width + left), out.data, 3 * y * out.width, 3 * out.width)
        }
        return out
    }

    /** Left and right exchanged. */
    fun mirrored(): Picture {
        val out = Picture(width, height)
        for (y in 0 until height) {
            for (x in 0 until width) {
                System.arraycopy(data, 3 * (y * width + width - 1 - x), out.data, 3 * (y * width + x), 3)
            }
        }
        return out
    }

    /** Averages of blocks of pixels; the blocks at the right and lower edge may be smaller. Rounds as Pillow does. */
    fun reduce(across: Int, down: Int = across): Picture {
        if (across == 1 && down == 1) return this
        val out = Picture((width + across - 1) / across, (height + down - 1) / down)
        for (y in 0 until out.height) {
            val rows = min(down, height - y * down)
            for (x in 0 until out.width) {
                val columns = min(across, width - x * across)
                val count = rows * columns
                for (channel in 0 until 3) {
                    var sum = (count / 2).toLong()
                    for (j in 0 until rows) {
                        for (i in 0 until columns) {
                            sum += value(3 * ((y * down + j) * width + x * across + i) + channel)
                        }
                    }
                    out.data[3 * (y * out.width + x) + channel] = (sum * ((1 shl 24) / count) shr 24).toByte()
                }
            }
        }
        return out
    }

    /**
     * Bilinear resize with a triangle filter as wide as the reduction, in Pillow's fixed-point arithmetic.
     * Large reductions are averaged in blocks first, to at least twice the size.
     */
    fun resize(toWidth: Int, toHeight: Int): Picture {
        val across = max((width.toDouble() / toWidth / 2).toInt(), 1)
        val down = max((height.toDouble() / toHeight / 2).toInt(), 1)
        var out = reduce(across, down)
        // The last block may have been a partial one, so the picture ends within the last pixel.
        val extentX = width.toDouble() / across
        val extentY = height.toDouble() / down
        if (extentX != toWidth.toDouble()) out = out.filter(extentX, toWidth, true)
        if (extentY != toHeight.toDouble()) out = out.filter(extentY, toHeight, false)
        return out
    }

    private fun filter(extent: Double, size: Int, horizontal: Boolean): Picture {
        val taps = taps(if (horizontal) width else height, extent, size)
        val out = if (horizontal) Picture(size, height) else Picture(width, size)
        val step = if (horizontal) 3 else 3 * width
        for (y in 0 until out.height) {
            for (x in 0 until out.width) {
                val tap = taps[if (horizontal) x else y]
                val start = if (horizontal) 3 * (y * width + tap.first) else 3 * (tap.first * width + x)
                for (channel in 0 until 3) {
                    var sum = 1 shl (PRECISION - 1)
                    for (i in tap.weights.indices) {
                        sum += value(start + channel + i * step) * tap.weights[i]
                    }
                    out.data[3 * (y * out.width + x) + channel] = (sum shr PRECISION).toByte()
                }
            }
        }
        return out
    }

    private class Taps(val first: Int, val weights: IntArray)

    /** For each output pixel the first input pixel and the weights from there on. */
    private fun taps(from: Int, exactExtent: Double, to: Int): List<Taps> {
        val extent = exactExtent.toFloat().toDouble() // Pillow keeps it in single precision
        val scale = extent / to
        val support = max(scale, 1.0)
        return List(to) { index ->
            val centre = (index + 0.5) * scale
            val first = max((centre - support + 0.5).toInt(), 0)
            val end = min((centre + support + 0.5).toInt(), from)
            val triangle = DoubleArray(end - first) { max(1 - abs((it + first - centre + 0.5) / support), 0.0) }
            val sum = triangle.sum()
            Taps(first, IntArray(triangle.size) { (0.5 + triangle[it] / sum * (1 shl PRECISION)).toInt() })
        }
    }

    private companion object {
        const val PRECISION = 22 // bits of a weight's fraction
    }
}
