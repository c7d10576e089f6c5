package pocketface.example

import android.Manifest
import android.content.pm.PackageManager
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.view.LifecycleCameraController
import androidx.camera.view.PreviewView
import java.util.concurrent.Executors
import pocketface.steps.Comparison

/** Remembers the face in front of the camera, then says of each frame whether it shows the same person. */
class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private lateinit var message: TextView
    private lateinit var preview: PreviewView

    @Volatile
    private var latest: FloatArray? = null

    @Volatile
    private var remembered: FloatArray? = null // in memory only; gone when the app closes

    private val permission = registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted ->
        if (granted) start() else message.setText(R.string.camera_not_allowed)
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        preview = PreviewView(this)
        message = TextView(this).apply { textSize = 24f }
        val remember = Button(this).apply {
            setText(R.string.remember)
            setOnClickListener { remembered = latest }
        }
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                addView(preview, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, 1f))
                addView(message)
                addView(remember)
            }
        )
        if (checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED) {
            start()
        } else {
            permission.launch(Manifest.permission.CAMERA)
        }
    }

    override fun onDestroy() {
        worker.shutdown()
        super.onDestroy()
    }

    private fun start() {
        val embedder = Model(this, "embedder")
        val threshold = Comparison.thresholdFor(embedder.thresholds, FMR)
        val analyzer = FaceAnalyzer(Model(this, "detector"), embedder) { faces, embedding ->
            latest = embedding
            val text = describe(faces, embedding, threshold)
            runOnUiThread { message.text = text }
        }
        preview.controller = LifecycleCameraController(this).apply {
            cameraSelector = CameraSelector.DEFAULT_FRONT_CAMERA
            imageAnalysisOutputImageFormat = ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888
            setImageAnalysisAnalyzer(worker, analyzer)
            bindToLifecycle(this@MainActivity)
        }
    }

    private fun describe(faces: Int, embedding: FloatArray?, threshold: Comparison.Threshold?): String {
        val known = remembered
        if (embedding == null) return getString(R.string.no_face)
        if (known == null) return resources.getQuantityString(R.plurals.faces, faces, faces)
        val similarity = Comparison.similarity(embedding, known)
        val words = when {
            threshold == null -> R.string.no_threshold
            similarity >= threshold.value -> R.string.same
            else -> R.string.different
        }
        return getString(words, similarity)
    }

    private companion object {
        const val FMR = 1e-3 // different people taken for one: at most one pair in a thousand
    }
}
