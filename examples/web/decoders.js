// Turns what detector graphs give into faces; the same arithmetic as pocketface/decoders.py.

const STRIDES = [8, 16, 32];
const MAX_CANDIDATES = 2000;

/** The project's own detector: logits, and distances in strides from the cell's centre. */
function decodePocketface(outputs, height, width, threshold) {
  const logit = Math.log(threshold / (1 - threshold));
  return eachCell(height, width, (stride, row, column, cell, cells) => {
    const score = take(outputs, `score_${stride}`, cells)[cell];
    if (score < logit) {
      return null;
    }
    const bbox = take(outputs, `bbox_${stride}`, 4 * cells);
    const kps = take(outputs, `kps_${stride}`, 10 * cells);
    const x = column + 0.5;
    const y = row + 0.5;
    const at = (values, channel) => values[channel * cells + cell];
    return {
      score: 1 / (1 + Math.exp(-score)),
      box: [x - at(bbox, 0), y - at(bbox, 1), x + at(bbox, 2), y + at(bbox, 3)].map((value) => value * stride),
      landmarks: points((i) => [(x + at(kps, 2 * i)) * stride, (y + at(kps, 2 * i + 1)) * stride]),
    };
  });
}

/** YuNet: score sqrt(cls * obj), box as centre offset and log size, from the cell's corner. */
function decodeYunet(outputs, height, width, threshold) {
  const unit = (value) => Math.min(Math.max(value, 0), 1);
  return eachCell(height, width, (stride, row, column, cell, cells) => {
    const cls = take(outputs, `cls_${stride}`, cells)[cell];
    const obj = take(outputs, `obj_${stride}`, cells)[cell];
    const score = Math.sqrt(unit(cls) * unit(obj));
    if (score < threshold) {
      return null;
    }
    const bbox = take(outputs, `bbox_${stride}`, 4 * cells).subarray(4 * cell, 4 * cell + 4);
    const kps = take(outputs, `kps_${stride}`, 10 * cells).subarray(10 * cell, 10 * cell + 10);
    const x = (column + bbox[0]) * stride;
    const y = (row + bbox[1]) * stride;
    const [halfWidth, halfHeight] = [bbox[2], bbox[3]].map((log) => (Math.exp(Math.min(log, 20)) * stride) / 2);
    return {
      score,
      box: [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight],
      landmarks: points((i) => [(column + kps[2 * i]) * stride, (row + kps[2 * i + 1]) * stride]),
    };
  });
}

/** By the `kind` of the detector's card. */
export const DECODERS = { pocketface: decodePocketface, yunet: decodeYunet };

/** Greedy non-maximum suppression; gives the faces kept, best score first. */
export function suppress(faces, limit) {
  const kept = [];
  for (const face of faces.toSorted((a, b) => b.score - a.score).slice(0, MAX_CANDIDATES)) {
    if (!kept.some(({ box }) => overlap(box, face.box) > limit)) {
      kept.push(face);
    }
  }
  return kept;
}

/** Intersection over union of two boxes. */
export function overlap(a, b) {
  const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  return shared / Math.max(area(a) + area(b) - shared, 1e-9);
}

/** Area of a box; none where it is turned inside out. */
export function area([left, top, right, bottom]) {
  return Math.max(right - left, 0) * Math.max(bottom - top, 0);
}

function eachCell(height, width, decode) {
  const faces = [];
  for (const stride of STRIDES) {
    const rows = height / stride;
    const columns = width / stride;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const face = decode(stride, row, column, row * columns + column, rows * columns);
        if (face !== null && [...face.box, ...face.landmarks.flat(), face.score].every(Number.isFinite)) {
          faces.push(face);
        }
      }
    }
  }
  return faces;
}

function points(at) {
  return [0, 1, 2, 3, 4].map(at);
}

function take(outputs, name, size) {
  const values = outputs[name]?.data;
  if (values?.length !== size) {
    throw new Error(`the detector's output "${name}" is not as expected; does its card name the right kind?`);
  }
  return values;
}
