package pocketface.steps

import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** Embeddings and what follows from two of them. */
object Comparison {
    private const val MIN_EXPECTED_ERRORS = 3 // the "rule of 3" of ISO/IEC 19795-1

    /** A threshold of a model card: cosine similarity, false match rate, pairs it was measured on. */
    data class Threshold(val value: Double, val fmr: Double, val impostorPairs: Long)

    /** The embedding at unit norm. */
    fun normalised(raw: FloatArray): FloatArray {
        val norm = sqrt(dot(raw, raw))
        check(norm >= 1e-6 && !norm.isInfinite()) { "the embedding is zero or not finite" }
        return FloatArray(raw.size) { (raw[it] / norm).toFloat() }
    }

    /** Cosine similarity of two embeddings of unit norm, -1 to 1. */
    fun similarity(a: FloatArray, b: FloatArray): Double {
        require(a.size == b.size) { "embeddings of ${a.size} and ${b.size} values" }
        return min(max(dot(a, b), -1.0), 1.0)
    }

    /** The threshold for a false match rate: the measured one or the next stricter; null where none is supported. */
    fun thresholdFor(thresholds: List<Threshold>, fmr: Double): Threshold? = thresholds
        .filter { it.fmr * it.impostorPairs >= MIN_EXPECTED_ERRORS * (1 - 1e-9) && it.fmr <= fmr * (1 + 1e-9) }
        .sortedBy { it.fmr }
        .lastOrNull()

    private fun dot(a: FloatArray, b: FloatArray): Double = a.indices.fold(0.0) { sum, i -> sum + a[i].toDouble() * b[i] }
}
