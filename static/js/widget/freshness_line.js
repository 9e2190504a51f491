// @ts-check
import { tick } from "../ui/ages.js";

/** The widget's line on how fresh it is: how long ago Beacon answered, and whether it can be reached. */

const line = /** @type {HTMLElement} */ (document.getElementById("widget-fresh"));
const word = /** @type {HTMLElement} */ (line.querySelector(".widget-fresh-word"));
const time = /** @type {HTMLTimeElement} */ (line.querySelector("time"));
const status = /** @type {HTMLElement} */ (document.getElementById("widget-status"));

/** @param {number} nowMs  the server's clock */
export function showChecked(nowMs) {
  if (line.dataset.state === "offline") status.textContent = "Beacon answers again.";
  line.dataset.state = "connected";
  word.textContent = "Checked";
  time.dateTime = new Date(nowMs).toISOString();
  time.dataset.age = "";
  time.hidden = false;
  line.hidden = false;
  tick(line);
}

/** What is shown stands as of when it was checked last; only the change is said aloud, never the ages. */
export function showFailure() {
  if (line.dataset.state !== "offline") status.textContent = "Beacon cannot be reached. What you see is from before.";
  line.dataset.state = "offline";
  word.textContent = time.hidden ? "Beacon cannot be reached" : "Beacon cannot be reached, checked";
  line.hidden = false;
}

/** Nothing is shown, so nothing is fresh. */
export function hideFreshness() {
  line.dataset.state = "stale";
  line.hidden = true;
  time.hidden = true;
}
