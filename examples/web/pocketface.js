// Face verification in the browser: the steps of the Python package on ONNX Runtime Web.
//
//   import * as ort from "./onnxruntime/ort.wasm.min.mjs";
//   import { FaceRecognizer, fetchModel, readPicture, similarity, thresholdFor } from "./pocketface.js";
//
//   const recognizer = await FaceRecognizer.load(ort, {
//     detector: await fetchModel("models/detector.json", "models/detector.onnx"),
//     embedder: await fetchModel("models/embedder.json", "models/embedder.onnx"),
//   });
//   const image = await readPicture(file);
//   const [face] = await recognizer.detect(image);
//   const { embedding } = await recognizer.embed(recognizer.align(image, face.landmarks));
//
// Types and units are in pocketface.d.ts. Pictures are RGB, 8 bits, without alpha.

import { align } from "./align.js";
import { area, DECODERS, overlap, suppress } from "./decoders.js";
import { fit, fitClose, fitFace, fitJudged, mirrored, mirroredBack } from "./views.js";

export { align, CROP_SIZE, estimate, TEMPLATE } from "./align.js";
export { MAX_PIXELS, PictureError, pixelsOf, readPicture, toImageData } from "./pixels.js";

const SCORE_THRESHOLDS = { pocketface: 0.6, yunet: 0.6 };
const OVERLAP = 0.4;
const DOUBTFUL = [0.3, 0.8]; // scores that two looks at the face alone decide
const SEEN_WELL = [56, 200]; // heights on the canvas at which more looks bring nothing
const LOOK_SCORE = 0.3; // less in a look at a face alone is nothing
const MAX_LOOKS = 16; // so many doubtful faces and so many seen small or large get them: bounds the time for crowds
const MIN_EXPECTED_ERRORS = 3; // the "rule of 3" of ISO/IEC 19795-1

/** The model's file does not fit its card, or is damaged. */
export class ModelError extends Error {}

/** Fetch a model and check it against its card. */
export async function fetchModel(cardAddress, graphAddress) {
  const [card, graph] = await Promise.all([
    get(cardAddress).then((response) => response.json()),
    get(graphAddress).then((response) => response.arrayBuffer()),
  ]);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", graph));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (sha256 !== card.sha256) {
    throw new ModelError(`${graphAddress} is not the file that its card describes (sha256 differs)`);
  }
  return { card, graph };
}

async function get(address) {
  const response = await fetch(address);
  if (!response.ok) {
    throw new ModelError(`${address}: ${response.status} ${response.statusText}`);
  }
  return response;
}

/** Finds, cuts out and describes faces. */
export class FaceRecognizer {
  #ort;
  #detector;
  #embedder;
  #last = Promise.resolve(); // ONNX Runtime Web runs one graph at a time

  /** Use `FaceRecognizer.load`. */
  constructor(ort, detector, embedder) {
    this.#ort = ort;
    this.#detector = detector;
    this.#embedder = embedder;
  }

  /** Make the sessions of both models. */
  static async load(ort, { detector, embedder }) {
    if (detector.card.task !== "detect" || embedder.card.task !== "embed") {
      throw new ModelError("a detector and an embedder are needed, in this order");
    }
    if (!(detector.card.kind in DECODERS)) {
      throw new ModelError(`detectors of the kind "${detector.card.kind}" cannot be decoded in the browser`);
    }
    const open = async ({ card, graph }) => ({ card, session: await ort.InferenceSession.create(graph) });
    return new FaceRecognizer(ort, await open(detector), await open(embedder));
  }

  /** Card of the detector. */
  get detectorCard() {
    return this.#detector.card;
  }

  /** Card of the embedder. */
  get embedderCard() {
    return this.#embedder.card;
  }

  /** Find the faces of a picture, best score first. */
  async detect(image) {
    const { size } = this.detectorCard.input;
    const first = fit(image, size);
    const faces = await this.#judged(image, first);
    if (faces.length > 0) {
      return this.#lookCloser(image, first, faces);
    }
    const close = fitClose(image, size);
    return this.#lookCloser(image, close, await this.#judged(image, close));
  }

  /** Cut out the face with these landmarks. */
  align(image, landmarks) {
    return align(image, landmarks);
  }

  /** Describe an aligned face. */
  async embed(crop) {
    const { card } = this.#embedder;
    const [height, width] = card.input.size;
    if (crop.width !== width || crop.height !== height) {
      throw new RangeError(`a crop of ${crop.width} x ${crop.height}; expected ${width} x ${height}`);
    }
    const outputs = await this.#run(this.#embedder, crop);
    const raw = outputs[card.output.name]?.data;
    if (raw?.length !== card.output.dim) {
      throw new ModelError(`${card.name}: the output "${card.output.name}" does not fit the card`);
    }
    const norm = Math.sqrt(dot(raw, raw));
    if (!(norm >= 1e-6 && Number.isFinite(norm))) {
      throw new ModelError(`${card.name}: the embedding is zero or not finite`);
    }
    return { embedding: raw.map((value) => value / norm), norm };
  }

  /** Faces of a view; a doubtful score is the mean of three: its own and those of two looks at the face alone. */
  async #judged(image, view) {
    const { kind, input } = this.detectorCard;
    const threshold = SCORE_THRESHOLDS[kind];
    const [least, sure] = DOUBTFUL;
    const faces = await this.#search(view, least);
    for (const face of faces.filter(({ score }) => score < sure).slice(0, MAX_LOOKS)) {
      const small = fitJudged(image, input.size, face);
      const seen = await this.#looks(face, fitFace(image, input.size, face), small);
      face.score = seen.reduce((sum, { score }) => sum + score, face.score) / 3;
    }
    return faces.filter(({ score }) => score >= threshold).toSorted((a, b) => b.score - a.score);
  }

  async #search({ canvas, scale, shift }, threshold) {
    const { card } = this.#detector;
    const outputs = await this.#run(this.#detector, canvas);
    const candidates = DECODERS[card.kind](outputs, canvas.height, canvas.width, threshold);
    const back = (value, axis) => (value - shift[axis] + 0.5) / scale[axis] - 0.5;
    return suppress(candidates, OVERLAP)
      .map(({ score, box, landmarks }) => ({
        score,
        box: box.map((value, i) => back(value, i % 2)),
        landmarks: landmarks.map((point) => point.map(back)),
      }))
      .filter(plausible);
  }

  /** Replace boxes and landmarks not seen well by the mean of two looks at the face alone, one mirrored. */
  async #lookCloser(image, { scale }, faces) {
    const result = [...faces];
    const [least, most] = SEEN_WELL;
    const unsure = faces.filter(({ box }) => !between((box[3] - box[1]) * scale[1], least, most));
    for (const face of unsure.toSorted((a, b) => area(b.box) - area(a.box)).slice(0, MAX_LOOKS)) {
      const view = fitFace(image, this.detectorCard.input.size, face);
      const seen = await this.#looks(face, view, view);
      if (seen.length > 0) {
        const mean = (value) => seen.reduce((sum, look) => sum + value(look), 0) / seen.length;
        result[faces.indexOf(face)] = {
          score: face.score,
          box: face.box.map((_, i) => mean(({ box }) => box[i])),
          landmarks: face.landmarks.map((point, i) => point.map((_, axis) => mean(({ landmarks }) => landmarks[i][axis]))),
        };
      }
    }
    return result;
  }

  /** What one view of a face alone shows of it, and another, mirrored; none, one or two faces. */
  async #looks(face, plain, turned) {
    const ours = await this.#search(plain, LOOK_SCORE);
    const theirs = await this.#search(mirrored(turned), LOOK_SCORE);
    const both = [same(face, ours), same(face, theirs.map((other) => mirroredBack(other, turned)))];
    return both.filter((look) => look !== null);
  }

  async #run({ card, session }, image) {
    const { name, layout } = card.input;
    const { width, height } = image;
    const shape = layout === "NHWC" ? [1, height, width, 3] : [1, 3, height, width];
    const tensor = new this.#ort.Tensor(card.input.dtype, tensorData(image, card.input), shape);
    const run = this.#last.then(() => session.run({ [name]: tensor }));
    this.#last = run.catch(() => {}); // a failure is its own caller's; the next run goes on
    return run;
  }
}

function between(value, least, most) {
  return least <= value && value <= most;
}

/** The one of `others` that is this face, or null. */
function same(face, others) {
  const [best] = others.toSorted((a, b) => overlap(face.box, b.box) - overlap(face.box, a.box));
  return best !== undefined && overlap(face.box, best.box) > 0.5 ? best : null;
}

/** Cosine similarity of two embeddings. */
export function similarity(a, b) {
  if (a.length !== b.length) {
    throw new RangeError(`embeddings of ${a.length} and ${b.length} values`);
  }
  return Math.min(Math.max(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)), -1), 1);
}

/** The card's thresholds that enough impostor pairs support, from the loosest to the strictest. */
export function supportedThresholds(card) {
  return card.thresholds
    .filter(({ fmr, impostor_pairs: pairs }) => fmr * pairs >= MIN_EXPECTED_ERRORS * (1 - 1e-9))
    .sort((a, b) => b.fmr - a.fmr);
}

/** The card's threshold for a false match rate: the measured one or the next stricter, else null. */
export function thresholdFor(card, fmr) {
  return supportedThresholds(card).find((entry) => entry.fmr <= fmr * (1 + 1e-9)) ?? null;
}

function dot(a, b) {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

/** Pixels as the card's input: order of channels, layout, mean and scale. */
function tensorData({ width, height, data }, { layout, dtype, channels, mean, scale }) {
  const pixels = width * height;
  const tensor = dtype === "uint8" ? new Uint8Array(3 * pixels) : new Float32Array(3 * pixels);
  for (let channel = 0; channel < 3; channel++) {
    const from = channels === "bgr" ? 2 - channel : channel;
    const plain = dtype === "uint8";
    const [offset, factor] = plain ? [0, 1] : [mean[channel], scale[channel]];
    const [start, step] = layout === "NHWC" ? [channel, 3] : [channel * pixels, 1];
    for (let i = 0; i < pixels; i++) {
      tensor[start + i * step] = (data[3 * i + from] - offset) * factor;
    }
  }
  return tensor;
}

/** Whether a crop can be cut out: an extent of a pixel at least, landmarks that do not coincide. */
function plausible({ box, landmarks }) {
  const reach = (axis) => {
    const values = landmarks.map((point) => point[axis]);
    return Math.max(...values) - Math.min(...values);
  };
  return box[2] - box[0] >= 1 && box[3] - box[1] >= 1 && Math.max(reach(0), reach(1)) >= 1;
}
