// @ts-check
import { serverNow } from "../lib/server_clock.js";
import { ageAtLastContact } from "./freshness.js";
import { clock, formatAgo, formatDuration, formatMoment, formatStamp, formatUntil, zoneName } from "../lib/time_text.js";

/** Ages that tick without the server, and tiles that are marked when nothing confirms them any more. */

/**
 * Replaces UTC by local times before a fragment or page is shown.
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
 * @param {number} [until]  by the server's clock; durations end here while Beacon is silent
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
 * Marks tiles that were not checked for too long, as of Beacon's last answer: while Beacon is silent, nothing ages.
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
 * Ages another part of the page together with the tile of its service, so that both agree.
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
 * Says so on every tile while Beacon is silent: the age then says nothing about the service.
 * @param {number | null} since  by the server's clock; null if it is not silent
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

/** The time that each element's title was made from, because all of them are checked every second. */
/** @type {WeakMap<Element, string>} */
const titleTimes = new WeakMap();

/**
 * Writes only what differs: even a write without a change costs a layout.
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
