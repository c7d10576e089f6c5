// An app as somebody might write it; the test checks that it type-checks against pocketface.d.ts.

import {
  FaceRecognizer,
  fetchModel,
  PictureError,
  readPicture,
  similarity,
  thresholdFor,
  type Face,
  type InferenceRuntime,
} from "POCKETFACE";

export async function samePerson(ort: InferenceRuntime, first: Blob, second: Blob): Promise<boolean> {
  const recognizer = await FaceRecognizer.load(ort, {
    detector: await fetchModel("models/detector.json", "models/detector.onnx"),
    embedder: await fetchModel("models/embedder.json", "models/embedder.onnx"),
  });
  const describe = async (file: Blob): Promise<Float32Array> => {
    const image = await readPicture(file, { maxPixels: 20_000_000 });
    const faces: Face[] = await recognizer.detect(image);
    const face = faces[0];
    if (face === undefined) {
      throw new PictureError("has no face");
    }
    const { embedding } = await recognizer.embed(recognizer.align(image, face.landmarks));
    return embedding;
  };
  const threshold = thresholdFor(recognizer.embedderCard, 1e-4);
  // @ts-expect-error: it may be null, and an app must say what happens then
  threshold.value;
  return threshold !== null && similarity(await describe(first), await describe(second)) >= threshold.value;
}
