// @ts-check
import { formatUntil } from "../notifications/bell.js";
import { serverNow } from "../lib/server_clock.js";
import { ageAtLastContact } from "./freshness.js";
import { formatAgo, clock, formatDuration, formatMoment, formatStamp, zoneName } from "../lib/time_text.js";

/** Times that tick without the server, and tiles that stop claiming to be fresh when nothing confirms them. */

/**
 * Local times instead of UTC, before a fragment or page is shown.
 * @param {ParentNode} root
 */
export function localise(root) {
  for (const time of timesOf(root, "time[data-clock]")) write(time, clock(dateOf(time)), formatMoment);
  for (const time of timesOf(root, "time[data-stamp]")) write(time, formatStamp(dateOf(time)), formatMoment);
  for (const time of timesOf(root, "time[data-moment]")) write(time, formatMoment(dateOf(time)), () => time.dateTime);
  for (const time of timesOf(root, "time[data-until]")) write(time, formatUntil(dateOf(time), new Date(serverNow())), formatMoment);
  for (const place of root.querySelectorAll("[data-zone]")) place.textContent = zoneName(new Date());
  tick(root);
}

/**
 * @param {ParentNode} root
 * @param {number} [until]  by the server's clock: nothing is said to have gone on for longer than it was heard of
 */
export function tick(root, until = serverNow()) {
  const now = serverNow();
  for (const time of timesOf(root, "time[data-age]")) {
    write(time, formatAgo(now - dateOf(time).getTime()), formatMoment);
  }
  for (const time of timesOf(root, "time[data-lasting]")) {
    write(time, formatDuration(until - dateOf(time).getTime()), formatMoment);
  }
}

/**
 * Marks what nobody has checked for too long, by what Beacon has said so far: while it is silent itself, nothing ages.
 * @param {number} lateAfterMs
 * @param {number} agedAfterMs
 * @param {number} heardAt  by the server's clock
 */
export function markAged(lateAfterMs, agedAfterMs, heardAt) {
  for (const tile of document.querySelectorAll(".tile")) {
    const checked = /** @type {HTMLTimeElement | null} */ (tile.querySelector(".check time"));
    const age = checked ? ageAtLastContact(dateOf(checked).getTime(), heardAt) : 0;
    tile.toggleAttribute("data-late", age > lateAfterMs);
    tile.toggleAttribute("data-aged", age > agedAfterMs);
  }
  for (const part of document.querySelectorAll("[data-ages-with]")) ageWithTile(part);
}

/**
 * What a page says elsewhere of the service of a tile: one verdict, wherever it stands.
 * @param {Element} part
 */
function ageWithTile(part) {
  const tile = document.getElementById(part.getAttribute("data-ages-with") ?? "");
  const aged = tile?.hasAttribute("data-aged") ?? false;
  part.toggleAttribute("data-aged", aged);
  if (!aged) return;
  const [checked, said] = [tile?.querySelector(".check time"), part.querySelector("time[data-checked]")];
  if (checked instanceof HTMLTimeElement && said instanceof HTMLTimeElement && said.dateTime !== checked.dateTime) {
    said.dateTime = checked.dateTime;
  }
}

/**
 * Beside every tile, while nothing is heard from Beacon: its age says nothing of the service any more.
 * @param {number | null} since  by the server's clock; null while it is heard
 */
export function markSilence(since) {
  const root = document.documentElement;
  if (root.hasAttribute("data-unheard") !== (since !== null)) {
    root.toggleAttribute("data-unheard", since !== null);
    document.dispatchEvent(new CustomEvent("beacon:unheard", { detail: since }));
  }
  for (const place of document.querySelectorAll(".tile-unheard")) {
    const words = since === null ? "" : `no news from Beacon since ${clock(new Date(since))}`;
    if (place.textContent !== words) place.textContent = words;
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
const titleTimes = new WeakMap();

/**
 * Only what differs: a write that changes nothing still costs the browser a layout.
 * @param {HTMLTimeElement} time
 * @param {string} text
 * @param {(date: Date) => string} title
 */
function write(time, text, title) {
  if (time.textContent !== text) time.textContent = text;
  if (titleTimes.get(time) === time.dateTime) return;
  titleTimes.set(time, time.dateTime);
  time.title = title(dateOf(time));
}
