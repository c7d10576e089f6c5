// Runs the Android app's steps for the Python test: requests on standard input, answers on standard output.
// Numbers are big-endian; a picture is width, height, RGB bytes.

import java.io.BufferedOutputStream
import java.io.DataInputStream
import java.io.DataOutputStream
import pocketface.steps.Alignment
import pocketface.steps.Comparison
import pocketface.steps.Decoder
import pocketface.steps.Detector
import pocketface.steps.Face
import pocketface.steps.Picture
import pocketface.steps.Point

val input = DataInputStream(System.`in`.buffered())
val output = DataOutputStream(BufferedOutputStream(System.out))

fun main() {
    while (true) {
        val request = input.read()
        if (request < 0) return
        when (request.toChar()) {
            'r' -> {
                val picture = readPicture()
                write(picture.resize(input.readInt(), input.readInt()))
            }
            'a' -> {
                val picture = readPicture()
                write(Alignment.align(picture, List(5) { Point(input.readDouble(), input.readDouble()) }))
            }
            'd' -> {
                val width = input.readInt()
                val height = input.readInt()
                write(Decoder.decode(readMaps(), width, height))
            }
            'f' -> write(find())
            'c' -> output.writeDouble(Comparison.similarity(readUnit(), readUnit()))
            't' -> {
                val entries = List(input.readInt()) {
                    Comparison.Threshold(input.readDouble(), input.readDouble(), input.readLong())
                }
                output.writeDouble(Comparison.thresholdFor(entries, input.readDouble())?.value ?: Double.NaN)
            }
        }
        output.flush()
    }
}

/** Detection of a whole picture; the graph itself runs in Python, asked for with 1, while 0 ends. */
fun find(): List<Face> {
    val detector = Detector(input.readInt(), input.readInt()) { canvas ->
        output.writeInt(1)
        write(canvas)
        output.flush()
        readMaps()
    }
    val faces = detector.detect(readPicture())
    output.writeInt(0)
    return faces
}

fun readPicture(): Picture {
    val picture = Picture(input.readInt(), input.readInt())
    input.readFully(picture.data)
    return picture
}

fun readFloats(): FloatArray = FloatArray(input.readInt()) { input.readFloat() }

fun readUnit(): FloatArray = Comparison.normalised(readFloats())

fun readMaps(): Map<String, FloatArray> = List(input.readInt()) { Pair(input.readUTF(), readFloats()) }.toMap()

fun write(picture: Picture) {
    output.writeInt(picture.width)
    output.writeInt(picture.height)
    output.write(picture.data)
}

fun write(faces: List<Face>) {
    output.writeInt(faces.size)
    for (face in faces) {
        listOf(face.score, face.left, face.top, face.right, face.bottom).forEach(output::writeDouble)
        face.landmarks.forEach { output.writeDouble(it.x); output.writeDouble(it.y) }
    }
}
