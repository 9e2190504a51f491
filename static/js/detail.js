// @ts-check
import { modeOf, describe } from "./reasons.js";
import { clock, moment } from "./times.js";
import { connectionStatus } from "./status.js";
import { tick } from "./ages.js";

/**
 * What opens from the badge: why the connection is as it is, and what one can do about it.
 *
 * @typedef {{ reconnect: () => void, pause: () => void }} Actions
 */

/**
 * @param {HTMLElement} detail
 * @param {number} pollMs
 * @param {Actions} actions
 */
export function bindDetail(detail, pollMs, actions) {
  const show = () => {
    if (detail.matches(":popover-open")) fill(detail, pollMs);
  };
  part(detail, "reconnect").addEventListener("click", actions.reconnect);
  part(detail, "pause").addEventListener("click", actions.pause);
  part(detail, "actions").hidden = false;
  detail.addEventListener("toggle", show);
  connectionStatus.subscribe(show);
  setInterval(show, 1_000);
}

/**
 * @param {HTMLElement} detail
 * @param {number} pollMs
 */
function fill(detail, pollMs) {
  const status = connectionStatus.value;
  write(part(detail, "reason"), describe(status).sentence);
  write(part(detail, "mode"), modeOf(status, pollMs));
  write(part(detail, "next"), nextAttempt(status.nextAttemptAt));
  write(part(detail, "pause"), status.paused ? "Resume this tab" : "Pause this tab");
  part(detail, "https").hidden = status.role !== "alone" || window.isSecureContext;
  showLastEvent(part(detail, "last"), connectionStatus.lastEventAt);
  showErrors(part(detail, "errors"), status.errors);
}

/** @param {number | null} at */
function nextAttempt(at) {
  if (at === null) return "none planned";
  return at <= Date.now() ? "now" : `in ${Math.ceil((at - Date.now()) / 1_000)} s`;
}

/**
 * @param {HTMLElement} place
 * @param {number | null} at
 */
function showLastEvent(place, at) {
  if (at === null) {
    write(place, "none since this page was loaded");
    return;
  }
  const date = new Date(at);
  const time = place.querySelector("time") ?? document.createElement("time");
  time.dataset.age = "";
  if (time.dateTime !== date.toISOString()) {
    time.dateTime = date.toISOString();
    place.replaceChildren(time, ` · ${moment(date)}`);
  }
  tick(place);
}

/**
 * @param {HTMLElement} place
 * @param {readonly import("./status.js").Trouble[]} errors
 */
function showErrors(place, errors) {
  const list = part(place, "error-list");
  place.hidden = errors.length === 0;
  if (list.dataset.newest === String(errors.at(-1)?.at)) return;
  list.dataset.newest = String(errors.at(-1)?.at);
  list.replaceChildren(...[...errors].reverse().map(errorRow));
}

/** @param {import("./status.js").Trouble} trouble */
function errorRow({ at, text }) {
  const row = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = new Date(at).toISOString();
  time.textContent = clock(new Date(at));
  row.append(time, ` ${text}`);
  return row;
}

/**
 * @param {HTMLElement} root
 * @param {string} name
 * @returns {HTMLElement}
 */
function part(root, name) {
  const found = /** @type {HTMLElement | null} */ (root.querySelector(`[data-part=${name}]`));
  if (!found) throw new Error(`the page has no ${name}`);
  return found;
}

/**
 * @param {HTMLElement} place
 * @param {string} text
 */
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
