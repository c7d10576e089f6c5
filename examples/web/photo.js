// One of the two photos on the page: reads it, finds the faces, shows them, describes the chosen one.

import { takePhoto } from "./camera.js";
import { drawCrop, drawPhoto } from "./draw.js";
import { PictureError, readPicture } from "./pocketface.js";

export class Photo {
  /** Embedding of the face to compare; null until there is one. */
  embedding = null;

  /** Milliseconds by step. */
  times = {};

  #section;
  #recognizer;
  #changed;
  #image = null;
  #faces = [];
  #latest = 0; // number of the newest picture; work on older ones is dropped

  /**
   * @param section the photo's section of the page
   * @param recognizer the loaded FaceRecognizer
   * @param dialog the camera's dialog
   * @param changed called whenever `embedding` changes
   */
  constructor(section, recognizer, dialog, changed) {
    this.#section = section;
    this.#recognizer = recognizer;
    this.#changed = changed;
    const file = this.#find(".file");
    file.onchange = () => {
      if (file.files.length > 0) {
        this.open(file.files[0]);
        file.value = ""; // so that choosing the same file again is a change
      }
    };
    this.#find(".take").onclick = () => this.#load(() => takePhoto(dialog));
    this.#find("select").onchange = (event) => this.#choose(Number(event.target.value));
    section.ondragover = (event) => {
      event.preventDefault();
      section.classList.add("dropping");
    };
    section.ondragleave = () => section.classList.remove("dropping");
    section.ondrop = (event) => {
      event.preventDefault();
      section.classList.remove("dropping");
      if (event.dataTransfer.files.length > 0) {
        this.open(event.dataTransfer.files[0]);
      }
    };
    file.disabled = false;
    this.#find(".take").disabled = false;
  }

  /** Show a picture file and describe its largest face. */
  open(file) {
    return this.#load(() =>
      readPicture(file).catch((error) => {
        throw error instanceof PictureError ? new PictureError(`${file.name} ${error.message}`) : error;
      }),
    );
  }

  async #load(read) {
    await this.#work(async (current) => {
      this.#say("Looking for faces…");
      const image = await this.#timed("read", read);
      if (image === null) {
        this.#say("No photo was taken.");
        return;
      }
      const faces = await this.#timed("find", () => this.#recognizer.detect(image));
      if (current()) {
        this.#image = image;
        // Largest first: it is the one to compare unless the user says otherwise.
        this.#faces = faces.sort((a, b) => area(b) - area(a));
        this.#offerFaces();
        await this.#describe(this.#faces[0], current);
      }
    });
  }

  #choose(index) {
    return this.#work((current) => this.#describe(this.#faces[index], current));
  }

  /** Run a step; whatever goes wrong in it is told to the user. */
  async #work(step) {
    const number = ++this.#latest;
    const current = () => number === this.#latest;
    this.embedding = null;
    this.#changed();
    try {
      await step(current);
    } catch (error) {
      if (current()) {
        this.#clear();
        this.#say(error instanceof PictureError ? error.message : `This failed: ${error.message}`, true);
      }
    }
  }

  async #describe(face, current) {
    await drawPhoto(this.#find(".view"), this.#image, this.#faces, face);
    this.#find(".view").ariaLabel = `Photo with ${count(this.#faces.length)}`;
    this.#find("figure").hidden = face === undefined;
    if (face === undefined) {
      this.#say("No face was found. Use a photo that shows the whole face from the front.", true);
      return;
    }
    const crop = await this.#timed("cut out", () => this.#recognizer.align(this.#image, face.landmarks));
    drawCrop(this.#find(".crop"), crop);
    const { embedding } = await this.#timed("describe", () => this.#recognizer.embed(crop));
    if (current()) {
      const others = this.#faces.length > 1 ? "; choose which one to compare (the largest at first)" : "";
      this.#say(`${count(this.#faces.length)} found${others}.`);
      this.embedding = embedding;
      this.#changed();
    }
  }

  #offerFaces() {
    const options = this.#faces.map((_, i) => new Option(`Face ${i + 1}${i === 0 ? " (largest)" : ""}`, i));
    this.#find("select").replaceChildren(...options);
    this.#find(".which").hidden = this.#faces.length < 2;
  }

  #clear() {
    this.#image = null;
    this.#faces = [];
    this.#offerFaces();
    this.#find("figure").hidden = true;
    const view = this.#find(".view");
    view.width = 0;
    view.ariaLabel = "No photo";
  }

  async #timed(step, work) {
    const start = performance.now();
    const result = await work();
    this.times[step] = performance.now() - start;
    return result;
  }

  #say(text, isError = false) {
    const message = this.#find(".message");
    message.textContent = text;
    message.classList.toggle("error", isError);
  }

  #find(selector) {
    return this.#section.querySelector(selector);
  }
}

function area({ box }) {
  return (box[2] - box[0]) * (box[3] - box[1]);
}

function count(faces) {
  return faces === 1 ? "1 face" : `${faces} faces`;
}
