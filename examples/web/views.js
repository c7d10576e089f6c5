// A picture as a detector sees it: reduced and padded to what the graph takes, as in pocketface/detect.py.
//
// Each view is a canvas and how to get there: canvas = (picture + 0.5) * scale - 0.5 + shift, x and y.

import { cut, resize } from "./pixels.js";

const MIN_FACE = 0.05; // smallest face looked for, as a fraction of the picture's height
const FACE_PX = 24; // height at which a face is found reliably
const MAX_SIDE = 2560;
const GRID = 32;
const CLOSE_SIDE = 192; // second try: the picture's longer side ...
const CLOSE_CANVAS = 320; // ... in the middle of this much black
const LOOK_SIDE = 160; // side of the canvas with a face alone ...
const LOOK_FACE = 96; // ... and the face's height there
const JUDGED_FACE = 64; // its height where a doubtful score is judged, however small it is in the picture

/** The picture as the detector sees it first: smallest faces just large enough, padded to the grid. */
export function fit(image, [rows, columns]) {
  const { width, height } = image;
  if (rows !== null && columns !== null) {
    return view(image, Math.min(1, rows / height, columns / width), columns, rows, false);
  }
  const scale = Math.min(1, FACE_PX / MIN_FACE / height, MAX_SIDE / Math.max(height, width));
  return view(image, scale, up(width * scale), up(height * scale), false);
}

/** And, when nothing was found, smaller with a margin: faces that fill the frame. */
export function fitClose(image, [rows, columns]) {
  const canvas = [columns ?? CLOSE_CANVAS, rows ?? CLOSE_CANVAS];
  const side = (CLOSE_SIDE * Math.min(...canvas)) / CLOSE_CANVAS;
  return view(image, Math.min(1, side / Math.max(image.height, image.width)), ...canvas, true);
}

/** One face alone, at the size at which its landmarks are found best. */
export function fitFace(image, size, { box }) {
  return alone(image, size, box, Math.min(1, LOOK_FACE / (box[3] - box[1])));
}

/** And smaller, or enlarged, where its score is judged. */
export function fitJudged(image, size, { box }) {
  return alone(image, size, box, JUDGED_FACE / (box[3] - box[1]));
}

function alone(image, [rows, columns], box, wanted) {
  const half = (LOOK_SIDE / 2 - 1) / wanted;
  const centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const size = [image.width, image.height];
  const clip = (value, low, high) => Math.min(Math.max(value, low), high);
  const start = centre.map((value, axis) => clip(Math.floor(value - half), 0, size[axis] - 1));
  const end = centre.map((value, axis) => Math.max(clip(Math.ceil(value + half), 1, size[axis]), start[axis] + 1));
  const region = cut(image, ...start, ...end);
  const [across, down] = [columns ?? LOOK_SIDE, rows ?? LOOK_SIDE];
  // Whole pixels may be a little more than the canvas holds.
  const fitting = Math.min(wanted, Math.min(across, down) / Math.max(region.width, region.height));
  const { canvas, scale, shift } = view(region, fitting, across, down, true);
  return { canvas, scale, shift: shift.map((value, axis) => value - start[axis] * scale[axis]) };
}

/** The view with its canvas mirrored. */
export function mirrored({ canvas, scale, shift }) {
  const { width, height, data } = canvas;
  const turned = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (y * width + width - 1 - x);
      turned.set(data.subarray(from, from + 3), 3 * (y * width + x));
    }
  }
  return { canvas: { width, height, data: turned }, scale, shift };
}

/** A face that was found in the mirrored canvas of a view, as it is in the picture. */
export function mirroredBack({ score, box, landmarks }, { canvas, scale, shift }) {
  const total = (canvas.width - 2 * shift[0]) / scale[0] - 1;
  const [leftEye, rightEye, nose, leftMouth, rightMouth] = landmarks.map(([x, y]) => [total - x, y]);
  return {
    score,
    box: [total - box[2], box[1], total - box[0], box[3]],
    landmarks: [rightEye, leftEye, nose, rightMouth, leftMouth],
  };
}

function view(image, scale, canvasWidth, canvasHeight, centred) {
  const width = Math.max(round(image.width * scale), 1);
  const height = Math.max(round(image.height * scale), 1);
  const small = resize(image, width, height);
  const left = centred ? Math.floor((canvasWidth - width) / 2) : 0;
  const top = centred ? Math.floor((canvasHeight - height) / 2) : 0;
  const data = new Uint8Array(3 * canvasWidth * canvasHeight);
  for (let y = 0; y < height; y++) {
    data.set(small.data.subarray(3 * y * width, 3 * (y + 1) * width), 3 * ((top + y) * canvasWidth + left));
  }
  return {
    canvas: { width: canvasWidth, height: canvasHeight, data },
    scale: [width / image.width, height / image.height],
    shift: [left, top],
  };
}

function up(length) {
  return Math.max(Math.ceil(round(length) / GRID), 1) * GRID;
}

/** Halves go to the even neighbour, as in Python. */
function round(value) {
  const lower = Math.floor(value);
  return value - lower === 0.5 ? lower + (lower % 2) : Math.round(value);
}
