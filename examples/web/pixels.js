// Pictures as plain RGB pixels: read from a file or a camera, and resized as Pillow resizes them.

/** More pixels are refused; with fewer, a phone's browser still has the memory to decode them. */
export const MAX_PIXELS = 64_000_000;

// Larger pictures are drawn smaller at once: some browsers refuse larger canvases, and a face needs no more.
const MAX_CANVAS_PIXELS = 16_000_000;

/** The picture cannot be read or is refused; the message is for the user. */
export class PictureError extends Error {}

/**
 * Decode a picture file: upright (EXIF orientation applied), transparency laid over white.
 * Colour profiles are left alone, as Python leaves them.
 */
export async function readPicture(blob, { maxPixels = MAX_PIXELS } = {}) {
  const [width, height] = await dimensions(blob);
  if (width * height > maxPixels) {
    const megapixels = (pixels) => Math.round(pixels / 1e6);
    throw new PictureError(
      `has ${megapixels(width * height)} megapixels; up to ${megapixels(maxPixels)} can be read. Make it smaller first.`,
    );
  }
  const shrink = Math.min(1, Math.sqrt(MAX_CANVAS_PIXELS / (width * height)));
  const size = { resizeWidth: Math.floor(width * shrink), resizeHeight: Math.floor(height * shrink), resizeQuality: "high" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      ...(shrink < 1 ? size : {}),
    });
  } catch {
    throw new PictureError("is damaged, or too large for this device's memory.");
  }
  try {
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

/** Width and height from the file's header, before its pixels are decoded. */
async function dimensions(blob) {
  const address = URL.createObjectURL(blob);
  const image = new Image();
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
      image.src = address;
    });
  } catch {
    throw new PictureError("is no picture that this browser can read, or it is damaged.");
  } finally {
    URL.revokeObjectURL(address);
  }
  if (image.naturalWidth * image.naturalHeight === 0) {
    throw new PictureError("has no size of its own; photos are needed here, not drawings.");
  }
  return [image.naturalWidth, image.naturalHeight];
}

/** Pixels of anything that can be drawn: a bitmap, a canvas, or a video's current frame. */
export function pixelsOf(source) {
  const width = source.videoWidth ?? source.width;
  const height = source.videoHeight ?? source.height;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    data[to] = rgba[from];
    data[to + 1] = rgba[from + 1];
    data[to + 2] = rgba[from + 2];
  }
  return { width, height, data };
}

/** The pixels as an ImageData, to be drawn on a canvas. */
export function toImageData({ width, height, data }) {
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
    image.data[to] = data[from];
    image.data[to + 1] = data[from + 1];
    image.data[to + 2] = data[from + 2];
    image.data[to + 3] = 255;
  }
  return image;
}

/** The part from (left, top) up to, not including, (right, bottom). */
export function cut(image, left, top, right, bottom) {
  const width = right - left;
  const data = new Uint8Array(3 * width * (bottom - top));
  for (let y = top; y < bottom; y++) {
    const from = 3 * (y * image.width + left);
    data.set(image.data.subarray(from, from + 3 * width), 3 * (y - top) * width);
  }
  return { width, height: bottom - top, data };
}

/** Average blocks of pixels; the blocks at the right and lower edge may be smaller. Rounds as Pillow does. */
export function reduce(image, across, down = across) {
  if (across === 1 && down === 1) {
    return image;
  }
  const width = Math.ceil(image.width / across);
  const height = Math.ceil(image.height / down);
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const rows = Math.min(down, image.height - y * down);
    for (let x = 0; x < width; x++) {
      const columns = Math.min(across, image.width - x * across);
      const count = rows * columns;
      const half = Math.trunc(count / 2);
      const reciprocal = Math.trunc(2 ** 24 / count);
      for (let channel = 0; channel < 3; channel++) {
        let sum = half;
        for (let j = 0; j < rows; j++) {
          let at = 3 * ((y * down + j) * image.width + x * across) + channel;
          for (let i = 0; i < columns; i++, at += 3) {
            sum += image.data[at];
          }
        }
        data[3 * (y * width + x) + channel] = Math.floor((sum * reciprocal) / 2 ** 24);
      }
    }
  }
  return { width, height, data };
}

/**
 * Bilinear resize with a triangle filter as wide as the reduction, in Pillow's fixed-point arithmetic:
 * first the rows, then the columns, each rounded to 8 bits. Large reductions are averaged in blocks
 * first, to at least twice the size (Pillow's `reducing_gap=2`).
 */
export function resize(image, width, height) {
  const across = Math.max(Math.trunc(image.width / width / 2), 1);
  const down = Math.max(Math.trunc(image.height / height / 2), 1);
  let result = reduce(image, across, down);
  // The last block may have been a partial one, so the picture ends within the last pixel.
  if (width !== image.width / across) {
    result = filter(result, image.width / across, width, true);
  }
  if (height !== image.height / down) {
    result = filter(result, image.height / down, height, false);
  }
  return result;
}

const PRECISION = 22; // bits of a weight's fraction

function filter(image, extent, size, horizontal) {
  const taps = weights(horizontal ? image.width : image.height, extent, size);
  const width = horizontal ? size : image.width;
  const height = horizontal ? image.height : size;
  const source = image.data;
  const data = new Uint8Array(3 * width * height);
  const step = horizontal ? 3 : 3 * image.width;
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const { first, values } = taps[horizontal ? x : y];
      let at = horizontal ? 3 * (y * image.width + first) : 3 * (first * image.width + x);
      let red = 1 << (PRECISION - 1);
      let green = red;
      let blue = red;
      for (let i = 0; i < values.length; i++, at += step) {
        red += source[at] * values[i];
        green += source[at + 1] * values[i];
        blue += source[at + 2] * values[i];
      }
      data[to++] = red >> PRECISION;
      data[to++] = green >> PRECISION;
      data[to++] = blue >> PRECISION;
    }
  }
  return { width, height, data };
}

/** For each output pixel the first input pixel and the weights from there on. */
function weights(from, extent, to) {
  const scale = Math.fround(extent) / to; // Pillow keeps the extent in single precision
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), from);
    const triangle = Array.from({ length: end - first }, (_, i) =>
      Math.max(1 - Math.abs((i + first - centre + 0.5) / support), 0),
    );
    const sum = triangle.reduce((a, b) => a + b);
    return { first, values: Int32Array.from(triangle, (value) => 0.5 + (value / sum) * 2 ** PRECISION) };
  });
}
