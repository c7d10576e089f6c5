// The page: loads the models, then waits for two photos.

import * as ort from "./onnxruntime/ort.wasm.min.mjs";
import { Decision } from "./decision.js";
import { Photo } from "./photo.js";
import { FaceRecognizer, fetchModel } from "./pocketface.js";

const MAX_THREADS = 4;

const state = document.getElementById("state");

async function start() {
  ort.env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;
  // Threads need a cross-origin isolated page, that is two headers from the server.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
  const recognizer = await FaceRecognizer.load(ort, {
    detector: await fetchModel("models/detector.json", "models/detector.onnx"),
    embedder: await fetchModel("models/embedder.json", "models/embedder.onnx"),
  });
  const decision = new Decision(recognizer.embedderCard);
  const sections = [...document.querySelectorAll(".photo")];
  const photos = sections.map(
    (section) =>
      new Photo(section, recognizer, document.getElementById("camera"), () => decision.update(photos)),
  );
  document.getElementById("models").textContent = [recognizer.embedderCard, recognizer.detectorCard]
    .map(({ name, license }) => `${name}: weights ${license.weights}, commercial use: ${license.commercial}.`)
    .join(" ");
  state.textContent = "Ready.";
}

async function keepOffline() {
  if ("serviceWorker" in navigator) {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    state.textContent += " This page now works without a network.";
  }
}

try {
  await start();
  await keepOffline();
} catch (error) {
  state.textContent = `This page cannot work here: ${error.message}`;
  throw error;
}
