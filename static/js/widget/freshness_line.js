// @ts-check
import { tick } from "../ui/ages.js";

/** The widget's line about its freshness: how long ago Beacon answered, and whether it can be reached. */

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

/** The content is as of the last check. Only the failure is announced, never the age. */
export function showFailure() {
  if (line.dataset.state !== "offline") status.textContent = "Beacon cannot be reached. What you see is from before.";
  line.dataset.state = "offline";
  word.textContent = time.hidden ? "Beacon cannot be reached" : "Beacon cannot be reached, checked";
  line.hidden = false;
}

/** Without content there is no freshness to show. */
export function hideFreshness() {
  line.dataset.state = "stale";
  line.hidden = true;
  time.hidden = true;
}
