// @ts-check
import { describeTimeLimit } from "./cut_pattern.js";

/**
 * The popover of the badge: how the connection stands, and what the reader can do. It is loaded at the first use of the page, and
 * gets its dependencies as arguments, because its own imports would be second copies of them.
 *
 * @typedef {{ reconnect: () => void, pause: () => void }} Actions
 * @typedef {Pick<typeof import("../lib/time_text.js"), "clock" | "formatMoment">
 *   & Pick<typeof import("./ages.js"), "tick"> & Pick<typeof import("../connection/status.js"), "connectionStatus">} Dependencies
 */

const MARKUP = `
  <dl class="detail-facts">
    <div><dt>Last event</dt><dd data-part="last"></dd></div>
    <div><dt>Mode</dt><dd data-part="mode"></dd></div>
    <div><dt>Next attempt</dt><dd data-part="next"></dd></div>
  </dl>
  <p class="muted" data-part="https" hidden>Over HTTPS one stream would do for all tabs of this browser; here each visible tab opens its own.</p>
  <p data-part="limit" hidden></p>
  <p class="detail-actions">
    <button class="button" type="button" data-part="reconnect">Reconnect</button>
    <button class="button" type="button" data-part="pause">Pause this tab</button>
  </p>
  <details class="detail-errors" data-part="errors" hidden>
    <summary>Recent errors</summary>
    <ol data-part="error-list"></ol>
  </details>`;

/** Reasons that only a new page gets out of. */
const SESSION_OVER = ["signed-out", "other-user"];

/**
 * @param {HTMLElement} detail
 * @param {number} pollMs
 * @param {Actions} actions
 * @param {Dependencies} dependencies
 */
export function bindDetails(detail, pollMs, actions, dependencies) {
  const { connectionStatus } = dependencies;
  detail.insertAdjacentHTML("beforeend", MARKUP);
  const show = () => {
    if (detail.matches(":popover-open")) update(detail, pollMs, dependencies);
  };
  findPart(detail, "reconnect").addEventListener("click", actions.reconnect);
  findPart(detail, "pause").addEventListener("click", actions.pause);
  detail.addEventListener("toggle", show);
  connectionStatus.subscribe(show);
  setInterval(show, 1_000);
}

/**
 * @param {HTMLElement} detail
 * @param {number} pollMs
 * @param {Dependencies} dependencies
 */
function update(detail, pollMs, dependencies) {
  const { connectionStatus } = dependencies;
  const status = connectionStatus.value;
  setText(findPart(detail, "mode"), describeMode(status, pollMs));
  setText(findPart(detail, "next"), nextAttempt(status.nextAttemptAt));
  setText(findPart(detail, "pause"), status.paused ? "Resume this tab" : "Pause this tab");
  findPart(detail, "https").hidden = status.role !== "alone" || window.isSecureContext;
  showTimeLimit(findPart(detail, "limit"), status.errors);
  showLastEvent(findPart(detail, "last"), connectionStatus.lastEventAt, dependencies);
  showErrors(findPart(detail, "errors"), status.errors, dependencies);
}

/** @param {number | null} at */
function nextAttempt(at) {
  if (at === null) return "none planned";
  return at <= Date.now() ? "now" : `in ${Math.ceil((at - Date.now()) / 1_000)} s`;
}

/**
 * @param {HTMLElement} place
 * @param {readonly import("../connection/status.js").Trouble[]} errors
 */
function showTimeLimit(place, errors) {
  const text = describeTimeLimit(errors);
  place.hidden = text === "";
  setText(place, text);
}

/**
 * @param {HTMLElement} place
 * @param {number | null} at
 * @param {Dependencies} dependencies
 */
function showLastEvent(place, at, { formatMoment, tick }) {
  if (at === null) {
    setText(place, "none since this page was loaded");
    return;
  }
  const date = new Date(at);
  const time = place.querySelector("time") ?? document.createElement("time");
  time.dataset.age = "";
  if (time.dateTime !== date.toISOString()) {
    time.dateTime = date.toISOString();
    place.replaceChildren(time, ` · ${formatMoment(date)}`);
  }
  tick(place);
}

/**
 * @param {HTMLElement} place
 * @param {readonly import("../connection/status.js").Trouble[]} errors
 * @param {Dependencies} dependencies
 */
function showErrors(place, errors, dependencies) {
  const list = findPart(place, "error-list");
  place.hidden = errors.length === 0;
  if (list.dataset.newest === String(errors.at(-1)?.at)) return;
  list.dataset.newest = String(errors.at(-1)?.at);
  list.replaceChildren(...[...errors].reverse().map((error) => errorRow(error, dependencies)));
}

/**
 * @param {import("../connection/status.js").Trouble} trouble
 * @param {Dependencies} dependencies
 */
function errorRow({ at, text }, { clock }) {
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
function findPart(root, name) {
  const found = /** @type {HTMLElement | null} */ (root.querySelector(`[data-part=${name}]`));
  if (!found) throw new Error(`the page has no ${name}`);
  return found;
}

/**
 * @param {HTMLElement} place
 * @param {string} text
 */
function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/**
 * How this tab gets its events.
 * @param {Pick<import("../connection/status.js").Status, "state" | "role" | "paused"> & { reason?: string }} status
 * @param {number} pollMs
 */
export function describeMode({ state, reason = "", role, paused }, pollMs) {
  const shared = { leader: ", for all tabs of this browser", follower: ", through another tab", alone: "", asleep: "" }[role];
  return `${modeText(state, reason, pollMs)}${shared}${paused ? "; paused here" : ""}`;
}

/**
 * @param {string} state
 * @param {string} reason
 * @param {number} pollMs
 */
function modeText(state, reason, pollMs) {
  if (state === "connected" && reason !== "late") return "Live stream";
  if (state === "reconnecting") return "Asking once with each attempt";
  return reason === "no-network" || SESSION_OVER.includes(reason) ? "Asking nobody" : `Asking every ${pollMs / 1_000} s`;
}
