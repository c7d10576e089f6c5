package pocketface.example

import android.content.Context
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.channels.FileChannel
import org.json.JSONObject
import org.tensorflow.lite.Interpreter
import pocketface.steps.Comparison.Threshold
import pocketface.steps.Picture

/** A TFLite graph and its card, from the app's assets; run by its signature. */
class Model(context: Context, name: String) {
    private val card = JSONObject(context.assets.open("$name.tflite.json").bufferedReader().use { it.readText() })
    private val interpreter = Interpreter(map(context, "$name.tflite"), Interpreter.Options().setNumThreads(THREADS))
    private val input = card.getJSONObject("input")
    private val inputName = input.getString("name")
    private val mean = floats("mean")
    private val scale = floats("scale")
    private val isUint8 = input.getString("dtype") == "uint8"

    /** Height and width of the input. */
    val height: Int
    val width: Int

    /** The card's decision thresholds. */
    val thresholds: List<Threshold> = card.getJSONArray("thresholds").let { entries ->
        List(entries.length()) {
            val entry = entries.getJSONObject(it)
            Threshold(entry.getDouble("value"), entry.getDouble("fmr"), entry.getLong("impostor_pairs"))
        }
    }

    init {
        val shape = interpreter.getInputTensorFromSignature(inputName, SIGNATURE).shape() // batch, height, width, channel
        height = shape[1]
        width = shape[2]
    }

    /** Run the graph on a picture of the input's size; each output, flattened, by its name. */
    fun run(picture: Picture): Map<String, FloatArray> {
        require(picture.width == width && picture.height == height) { "a picture of $width x $height is needed" }
        val outputs = interpreter.getSignatureOutputs(SIGNATURE).associateWith { name ->
            FloatBuffer.allocate(interpreter.getOutputTensorFromSignature(name, SIGNATURE).numElements())
        }
        interpreter.runSignature(mapOf(inputName to tensor(picture)), outputs, SIGNATURE)
        return outputs.mapValues { it.value.array() }
    }

    private fun tensor(picture: Picture): ByteBuffer {
        val bytes = if (isUint8) picture.data.size else 4 * picture.data.size
        val buffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
        if (isUint8) {
            buffer.put(picture.data)
        } else {
            for (i in picture.data.indices) {
                buffer.putFloat((picture.value(i) - mean[i % 3]) * scale[i % 3])
            }
        }
        buffer.rewind()
        return buffer
    }

    private fun floats(key: String): FloatArray =
        input.getJSONArray(key).let { values -> FloatArray(3) { values.getDouble(it).toFloat() } }

    private companion object {
        const val SIGNATURE = "serving_default"
        const val THREADS = 2 // leaves the camera and the screen their share

        fun map(context: Context, name: String): ByteBuffer = context.assets.openFd(name).use { file ->
            FileInputStream(file.fileDescriptor).use { stream ->
                stream.channel.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
            }
        }
    }
}
