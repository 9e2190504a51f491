// @ts-check
import { untilWords } from "./bell.js";
import { serverNow } from "./clock.js";
import { ago, clock, moment, stamp, zone } from "./times.js";

/** Times that tick without the server, and tiles that stop claiming to be fresh when nothing confirms them. */

/**
 * Local times instead of UTC, before a fragment or page is shown.
 * @param {ParentNode} root
 */
export function localise(root) {
  for (const time of timesOf(root, "time[data-clock]")) write(time, clock(dateOf(time)), moment);
  for (const time of timesOf(root, "time[data-stamp]")) write(time, stamp(dateOf(time)), moment);
  for (const time of timesOf(root, "time[data-moment]")) write(time, moment(dateOf(time)), () => time.dateTime);
  for (const time of timesOf(root, "time[data-until]")) write(time, untilWords(dateOf(time), new Date(serverNow())), moment);
  for (const place of root.querySelectorAll("[data-zone]")) place.textContent = zone(new Date());
  tick(root);
}

/** @param {ParentNode} root */
export function tick(root) {
  const now = serverNow();
  for (const time of timesOf(root, "time[data-age]")) {
    write(time, ago(now - dateOf(time).getTime()), moment);
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

/** The moment that the title of an element was made from: all of them are looked at each second. */
/** @type {WeakMap<Element, string>} */
const titled = new WeakMap();

/**
 * Only what differs: a write that changes nothing still costs the browser a layout.
 * @param {HTMLTimeElement} time
 * @param {string} text
 * @param {(date: Date) => string} title
 */
function write(time, text, title) {
  if (time.textContent !== text) time.textContent = text;
  if (titled.get(time) === time.dateTime) return;
  titled.set(time, time.dateTime);
  time.title = title(dateOf(time));
}
