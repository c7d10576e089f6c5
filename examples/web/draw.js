// Shows a photo with its faces, and an aligned crop.

import { toImageData } from "./pocketface.js";

const SIDE = 640; // of the canvas; the page shows it smaller

/** Draw the photo with a box, a number and the landmarks of each face; the chosen one stands out. */
export async function drawPhoto(canvas, image, faces, chosen) {
  const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
  canvas.width = Math.max(Math.round(image.width * scale), 1);
  canvas.height = Math.max(Math.round(image.height * scale), 1);
  const context = canvas.getContext("2d");
  const bitmap = await createImageBitmap(toImageData(image));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  faces.forEach((face, i) => {
    const [left, top, right, bottom] = face.box.map((value) => (value + 0.5) * scale);
    context.strokeStyle = face === chosen ? "#ffd400" : "#ffffff";
    context.lineWidth = face === chosen ? 4 : 2;
    context.strokeRect(left, top, right - left, bottom - top);
    context.fillStyle = "#00e5ff";
    for (const [x, y] of face.landmarks) {
      context.beginPath();
      context.arc((x + 0.5) * scale, (y + 0.5) * scale, 3.5, 0, 2 * Math.PI);
      context.fill();
    }
    if (faces.length > 1) {
      label(context, String(i + 1), left, top);
    }
  });
}

function label(context, text, x, y) {
  context.font = "bold 18px sans-serif";
  context.textBaseline = "top";
  context.fillStyle = "#000000b0";
  context.fillRect(x, y, context.measureText(text).width + 10, 24);
  context.fillStyle = "#ffffff";
  context.fillText(text, x + 5, y + 3);
}

/** Draw an aligned crop. */
export function drawCrop(canvas, crop) {
  canvas.getContext("2d").putImageData(toImageData(crop), 0, 0);
}
