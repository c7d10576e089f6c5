// Says whether two embeddings are of the same person, in words and on a scale.

import { similarity, supportedThresholds, thresholdFor } from "./pocketface.js";

const DEFAULT_FMR = 1e-3;
const STEPS = ["read", "find", "cut out", "describe"];
const [LEFT, WIDTH, LOWEST] = [20, 560, -0.25]; // of the scale, which ends at similarity 1

export class Decision {
  #card;
  #photos = null;

  /** @param card the embedder's card */
  constructor(card) {
    this.#card = card;
    const options = supportedThresholds(card).map(({ fmr }) => new Option(rate(fmr), fmr));
    const choice = element("fmr");
    choice.replaceChildren(...options);
    choice.parentElement.hidden = options.length === 0;
    choice.value = thresholdFor(card, DEFAULT_FMR)?.fmr ?? "";
    choice.onchange = () => this.#show();
    drawTicks();
  }

  /** Compare what the photos show; hides the result until both have an embedding. */
  update(photos) {
    this.#photos = photos.every(({ embedding }) => embedding !== null) ? photos : null;
    this.#show();
  }

  #show() {
    element("result").hidden = this.#photos === null;
    if (this.#photos === null) {
      return;
    }
    const [first, second] = this.#photos;
    const value = similarity(first.embedding, second.embedding);
    const threshold = thresholdFor(this.#card, Number(element("fmr").value));
    const same = threshold === null ? null : value >= threshold.value;
    const words = { null: "No decision", true: "Same person", false: "Different people" }[same];
    element("decision").textContent = words;
    element("decision").className = { null: "", true: "same", false: "different" }[same];
    element("reason").textContent = reason(value, threshold, same);
    drawScale(value, threshold, words);
    showTimes(this.#photos);
  }
}

function reason(value, threshold, same) {
  if (threshold === null) {
    return `Similarity ${value.toFixed(3)}. This model has no calibrated threshold, so nothing can be decided.`;
  }
  const { fmr, data, impostor_pairs: pairs } = threshold;
  return (
    `Similarity ${value.toFixed(3)} is ${same ? "at or above" : "below"} the threshold ${threshold.value.toFixed(3)}, ` +
    `whose false match rate (FMR) is ${rate(fmr)}, measured on ${pairs.toLocaleString("en")} pairs (${data}).`
  );
}

function position(value) {
  return LEFT + (WIDTH * (Math.min(Math.max(value, LOWEST), 1) - LOWEST)) / (1 - LOWEST);
}

function drawTicks() {
  for (const value of [-0.25, 0, 0.25, 0.5, 0.75, 1]) {
    const tick = document.createElementNS("http://www.w3.org/2000/svg", "text");
    tick.setAttribute("x", position(value));
    tick.setAttribute("y", 78);
    tick.setAttribute("text-anchor", "middle");
    tick.textContent = value;
    element("ticks").append(tick);
  }
}

function drawScale(value, threshold, words) {
  element("marker").setAttribute("transform", `translate(${position(value)} 0)`);
  element("scale").classList.toggle("undecided", threshold === null);
  const limit = position(threshold?.value ?? LOWEST);
  element("below").setAttribute("width", limit - LEFT);
  element("above").setAttribute("x", limit);
  element("above").setAttribute("width", LEFT + WIDTH - limit);
  element("limit").setAttribute("transform", `translate(${limit} 0)`);
  element("limit").querySelector("text").textContent = "threshold";
  const where = threshold === null ? "" : `, threshold ${threshold.value.toFixed(3)}`;
  element("scale-title").textContent = `${words}: similarity ${value.toFixed(3)} on a scale up to 1${where}`;
}

function showTimes(photos) {
  const sum = photos.flatMap(({ times }) => STEPS.map((step) => times[step])).reduce((a, b) => a + b);
  element("total").textContent = `${sum.toFixed(0)} ms for both photos`;
  const rows = STEPS.map((step) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = step;
    const cells = photos.map(({ times }) => {
      const cell = document.createElement("td");
      cell.textContent = times[step].toFixed(1);
      return cell;
    });
    row.append(head, ...cells);
    return row;
  });
  element("times").tBodies[0].replaceChildren(...rows);
}

function rate(fmr) {
  return `1 in ${Math.round(1 / fmr).toLocaleString("en")}`;
}

function element(id) {
  return document.getElementById(id);
}
