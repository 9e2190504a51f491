// @ts-check
import { untilWords } from "./bell.js";
import { serverNow } from "./clock.js";
import { ago, clock, moment, zone } from "./times.js";

/** Times that tick without the server, and tiles that stop claiming to be fresh when nothing confirms them. */

/**
 * Local times instead of UTC, before a fragment or page is shown.
 * @param {ParentNode} root
 */
export function localise(root) {
  for (const time of timesOf(root, "time[data-clock]")) write(time, clock(dateOf(time)), moment(dateOf(time)));
  for (const time of timesOf(root, "time[data-moment]")) write(time, moment(dateOf(time)), time.dateTime);
  for (const time of timesOf(root, "time[data-until]")) write(time, untilWords(dateOf(time), new Date(serverNow())), moment(dateOf(time)));
  const name = zone(new Date());
  for (const place of root.querySelectorAll("[data-zone]")) place.textContent = name;
  tick(root);
}

/** @param {ParentNode} root */
export function tick(root) {
  const now = serverNow();
  for (const time of timesOf(root, "time[data-age]")) {
    write(time, ago(now - dateOf(time).getTime()), moment(dateOf(time)));
  }
}

/**
 * Marks tiles whose newest check is too long ago: the server, the network or the poller is away.
 * @param {number} lateAfterMs
 * @param {number} agedAfterMs
 */
export function markAged(lateAfterMs, agedAfterMs) {
  const now = serverNow();
  for (const tile of document.querySelectorAll(".tile")) {
    const checked = /** @type {HTMLTimeElement | null} */ (tile.querySelector(".check time"));
    const age = checked ? now - dateOf(checked).getTime() : 0;
    tile.toggleAttribute("data-late", age > lateAfterMs);
    tile.toggleAttribute("data-aged", age > agedAfterMs);
  }
}

/**
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {NodeListOf<HTMLTimeElement>}
 */
function timesOf(root, selector) {
  return root.querySelectorAll(selector);
}

/** @param {HTMLTimeElement} time */
function dateOf(time) {
  return new Date(time.dateTime);
}

/**
 * Only what differs: a write that changes nothing still costs the browser a layout.
 * @param {HTMLTimeElement} time
 * @param {string} text
 * @param {string} title
 */
function write(time, text, title) {
  if (time.textContent !== text) time.textContent = text;
  if (time.title !== title) time.title = title;
}
