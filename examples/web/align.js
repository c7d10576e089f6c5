// Cuts a face out of a picture so that its landmarks lie where the embedder was taught to expect them.
//
// The least-squares similarity transform to the ArcFace template, and a warp that averages instead of
// aliasing; the same arithmetic, rounding included, as pocketface/align.py does with Pillow.

import { cut, reduce } from "./pixels.js";

export const CROP_SIZE = 112;

/** Left eye, right eye, nose tip, left and right mouth corner in the 112 x 112 crop. */
export const TEMPLATE = Object.freeze(
  [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]].map(Object.freeze),
);

// Above so many picture pixels a crop pixel the warp takes four samples instead of one.
const OVERSAMPLE_ABOVE = 1.2;

/** The similarity transform `[a, -b, x, b, a, y]` (two rows) from a picture to the crop. */
export function estimate(landmarks) {
  if (landmarks.length !== 5 || !landmarks.flat().every(Number.isFinite)) {
    throw new RangeError("landmarks must be five finite points");
  }
  const mean = (points, axis) => points.reduce((sum, point) => sum + point[axis], 0) / 5;
  const [sx, sy, tx, ty] = [mean(landmarks, 0), mean(landmarks, 1), mean(TEMPLATE, 0), mean(TEMPLATE, 1)];
  let spread = 0;
  let real = 0;
  let imaginary = 0;
  landmarks.forEach(([x, y], i) => {
    const [dx, dy, ex, ey] = [x - sx, y - sy, TEMPLATE[i][0] - tx, TEMPLATE[i][1] - ty];
    spread += dx * dx + dy * dy;
    real += dx * ex + dy * ey;
    imaginary += dx * ey - dy * ex;
  });
  const a = spread > 1e-6 ? real / spread : 0;
  const b = spread > 1e-6 ? imaginary / spread : 0;
  if (Math.hypot(a, b) < 1e-6) {
    throw new RangeError("landmarks coincide; no face can be cut out");
  }
  return [a, -b, tx - a * sx + b * sy, b, a, ty - b * sx - a * sy];
}

/** Cut the face with these landmarks out of a picture; what lies outside the picture is black. */
export function align(image, landmarks) {
  const [a, minusB, tx, b, , ty] = estimate(landmarks);
  const norm = a * a + b * b;
  const inverse = [a / norm, b / norm, minusB / norm, a / norm];
  const offset = [-(inverse[0] * tx + inverse[1] * ty), -(inverse[2] * tx + inverse[3] * ty)];
  const shrink = Math.hypot(inverse[0], inverse[2]); // picture pixels per crop pixel
  const before = Math.max(Math.trunc(shrink), 1);
  const after = shrink / before > OVERSAMPLE_ABOVE ? 2 : 1;

  const ends = [-1, CROP_SIZE];
  const corners = (row) =>
    ends.flatMap((y) => ends.map((x) => inverse[2 * row] * x + inverse[2 * row + 1] * y + offset[row]));
  const range = (row, limit) => {
    const clip = (value) => Math.min(Math.max(value, 0), limit);
    const reach = corners(row);
    return [clip(Math.floor(Math.min(...reach)) - 2 * before), clip(Math.ceil(Math.max(...reach)) + 2 * before)];
  };
  const [left, right] = range(0, image.width);
  const [top, bottom] = range(1, image.height);
  if (left >= right || top >= bottom) {
    return { width: CROP_SIZE, height: CROP_SIZE, data: new Uint8Array(3 * CROP_SIZE * CROP_SIZE) };
  }
  const region = reduce(cut(image, left, top, right, bottom), before);

  const step = inverse.map((value) => value / (before * after));
  const start = [left, top].map(
    (corner, row) => (offset[row] + 0.5 - 0.5 * (inverse[2 * row] + inverse[2 * row + 1]) - corner) / before,
  );
  return reduce(sample(region, step, start, CROP_SIZE * after), after);
}

/** Bilinear samples at `step * (x, y) + start`, counted from the corner of the first pixel. */
function sample(image, step, start, side) {
  const { width, height, data } = image;
  const out = new Uint8Array(3 * side * side);
  const clipX = (x) => Math.min(Math.max(x, 0), width - 1);
  for (let v = 0; v < side; v++) {
    for (let u = 0; u < side; u++) {
      const x = step[0] * (u + 0.5) + step[1] * (v + 0.5) + start[0];
      const y = step[2] * (u + 0.5) + step[3] * (v + 0.5) + start[1];
      if (x < 0 || x >= width || y < 0 || y >= height) {
        continue;
      }
      const x0 = Math.floor(x - 0.5);
      const y0 = Math.floor(y - 0.5);
      const dx = x - 0.5 - x0;
      const dy = y - 0.5 - y0;
      const upper = Math.max(y0, 0) * width;
      const lower = Math.min(y0 + 1, height - 1) * width;
      const left = clipX(x0);
      const right = clipX(x0 + 1);
      for (let channel = 0; channel < 3; channel++) {
        const at = (row, column) => data[3 * (row + column) + channel];
        const above = at(upper, left) + (at(upper, right) - at(upper, left)) * dx;
        const below = at(lower, left) + (at(lower, right) - at(lower, left)) * dx;
        out[3 * (v * side + u) + channel] = above + (below - above) * dy;
      }
    }
  }
  return { width: side, height: side, data: out };
}
