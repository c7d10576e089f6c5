// Takes a photo with the camera, in a dialog.

import { PictureError, pixelsOf } from "./pocketface.js";

const REASONS = {
  NotFoundError: "No camera was found. Choose a photo instead.",
  OverconstrainedError: "No camera was found. Choose a photo instead.",
  NotAllowedError: "The camera is not allowed. Allow it for this page in the browser's settings, or choose a photo.",
  NotReadableError: "The camera is in use by another program, or does not answer.",
};

/** Ask for a photo; gives its pixels, or null when the user cancels. */
export async function takePhoto(dialog) {
  const stream = await open();
  const video = dialog.querySelector("video");
  video.srcObject = stream;
  dialog.showModal();
  try {
    return await new Promise((resolve) => {
      dialog.querySelector('[value="take"]').onclick = () => {
        if (video.videoWidth > 0) {
          resolve(pixelsOf(video));
        }
      };
      dialog.querySelector('[value="cancel"]').onclick = () => resolve(null);
      dialog.oncancel = () => resolve(null);
    });
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    dialog.close();
  }
}

async function open() {
  if (navigator.mediaDevices?.getUserMedia === undefined) {
    throw new PictureError("This browser gives no camera to this page. Choose a photo instead.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: 1280, height: 720 } });
  } catch (error) {
    throw new PictureError(REASONS[error.name] ?? `The camera cannot be used (${error.message}).`);
  }
}
