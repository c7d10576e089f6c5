/** Face verification in the browser: the steps of the Python package on ONNX Runtime Web. */

/** A picture: RGB, 8 bits a channel, rows from the top, upright. */
export interface Picture {
  width: number;
  height: number;
  /** `3 * width * height` values. */
  data: Uint8Array;
}

/** x and y in pixels of the picture; the centre of the first pixel is (0, 0). */
export type Point = [x: number, y: number];

/** Left eye, right eye, nose tip, left and right mouth corner, as seen in the picture. */
export type Landmarks = [Point, Point, Point, Point, Point];

export interface Face {
  /** Left, top, right, bottom in pixels; may reach beyond the picture. */
  box: [left: number, top: number, right: number, bottom: number];
  landmarks: Landmarks;
  /** Confidence of the detector, 0 to 1. */
  score: number;
}

export interface Embedding {
  /** Of unit norm. */
  embedding: Float32Array;
  /** Euclidean norm before normalisation, a rough sign of quality. */
  norm: number;
}

/** A decision threshold and what supports it. */
export interface Threshold {
  /** Cosine similarity; a pair at or above it counts as the same person. */
  value: number;
  /** False match rate (ISO/IEC 19795-1) measured at the value. */
  fmr: number;
  /** Upper bound of the false match rate at 95 % confidence. */
  fmr_upper: number | null;
  /** False non-match rate at the value. */
  fnmr: number | null;
  /** How many pairs of different people it was measured on. */
  impostor_pairs: number;
  /** Name of the data set of these pairs. */
  data: string;
}

/** The fields of a model card that the module reads; docs/architecture.md describes them all. */
export interface ModelCard {
  name: string;
  task: "detect" | "embed";
  kind: string;
  sha256: string;
  input: {
    name: string;
    layout: "NCHW" | "NHWC";
    dtype: "float32" | "uint8";
    channels: "rgb" | "bgr";
    mean: [number, number, number];
    scale: [number, number, number];
    /** Height and width; null for a detector that takes any multiple of 32. */
    size: [number | null, number | null];
  };
  /** Of embedders. */
  output?: { name: string; dim: number };
  thresholds: Threshold[];
  license: { weights: string; data: string; commercial: "yes" | "no" | "unclear"; notes: string };
}

/** A card and the bytes of its ONNX graph. */
export interface Model {
  card: ModelCard;
  graph: ArrayBuffer;
}

/** What is needed of ONNX Runtime Web: `import * as ort from "onnxruntime-web/wasm"` fits. */
export interface InferenceRuntime {
  InferenceSession: { create(graph: ArrayBuffer): Promise<unknown> };
  Tensor: new (...args: any[]) => unknown;
}

/** Side of an aligned crop in pixels. */
export declare const CROP_SIZE: 112;

/** Where the landmarks lie in an aligned crop (Deng et al., "ArcFace", CVPR 2019). */
export declare const TEMPLATE: Readonly<Landmarks>;

/** Default limit on a picture's pixels. */
export declare const MAX_PIXELS: number;

/** A picture cannot be read or is refused; the message follows the file's name ("is damaged ..."). */
export declare class PictureError extends Error {}

/** A model's file does not fit its card, is missing or damaged. */
export declare class ModelError extends Error {}

/**
 * Decode a picture file: EXIF orientation applied, transparency over white, more than 16 megapixels reduced.
 * @throws PictureError
 */
export declare function readPicture(blob: Blob, options?: { maxPixels?: number }): Promise<Picture>;

/** Pixels of anything that can be drawn: a bitmap, a canvas, a video's current frame. */
export declare function pixelsOf(source: ImageBitmap | HTMLCanvasElement | OffscreenCanvas | HTMLVideoElement): Picture;

/** The picture in the form that canvases take. */
export declare function toImageData(image: Picture): ImageData;

/**
 * Fetch a model's card and graph, and compare the graph's sha256 with the card's.
 * @throws ModelError
 */
export declare function fetchModel(cardAddress: string, graphAddress: string): Promise<Model>;

/** Finds, cuts out and describes faces. Calls may overlap; they are carried out one after another. */
export declare class FaceRecognizer {
  private constructor();

  /**
   * Make the sessions of both models. Set `ort.env.wasm` before: where its files lie, how many threads.
   * @throws ModelError the cards are not those of a detector of a known kind and an embedder
   */
  static load(ort: InferenceRuntime, models: { detector: Model; embedder: Model }): Promise<FaceRecognizer>;

  readonly detectorCard: ModelCard;
  readonly embedderCard: ModelCard;

  /** Find the faces of a picture, best score first; none is an empty list. */
  detect(image: Picture): Promise<Face[]>;

  /** Cut out the face with these landmarks: 112 x 112 pixels, black where the picture ends. */
  align(image: Picture, landmarks: Landmarks): Picture;

  /** Describe an aligned crop. */
  embed(crop: Picture): Promise<Embedding>;
}

/**
 * The least-squares similarity transform from a picture to the crop, rows `[a, -b, x, b, a, y]`.
 * @throws RangeError the landmarks are not finite or coincide
 */
export declare function estimate(
  landmarks: Landmarks,
): [number, number, number, number, number, number];

/** As `FaceRecognizer.align`. */
export declare function align(image: Picture, landmarks: Landmarks): Picture;

/** Cosine similarity of two embeddings, -1 to 1. */
export declare function similarity(a: ArrayLike<number>, b: ArrayLike<number>): number;

/** The card's thresholds that enough impostor pairs support, from the loosest to the strictest. */
export declare function supportedThresholds(card: ModelCard): Threshold[];

/**
 * The card's threshold for a false match rate: the measured one or the next stricter; null where the
 * card's impostor pairs do not support one.
 */
export declare function thresholdFor(card: ModelCard, fmr: number): Threshold | null;
