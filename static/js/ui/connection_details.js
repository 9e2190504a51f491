// @ts-check
/**
 * What opens from the badge: why the connection is as it is, and what one can do about it. No page waits for it: it comes
 * after the rest and is given what it would otherwise bring a second time.
 *
 * @typedef {{ reconnect: () => void, pause: () => void }} Actions
 * @typedef {Pick<typeof import("./connection_text.js"), "describe"> & Pick<typeof import("../lib/time_text.js"), "clock" | "moment">
 *   & Pick<typeof import("./ages.js"), "tick"> & Pick<typeof import("../connection/status.js"), "connectionStatus">} Given
 */

/** Reasons that only a new page ends. */
const OVER = ["signed-out", "other-user"];

/**
 * @param {HTMLElement} detail
 * @param {number} pollMs
 * @param {Actions} actions
 * @param {Given} given
 */
export function bindDetail(detail, pollMs, actions, given) {
  const { connectionStatus } = given;
  const show = () => {
    if (detail.matches(":popover-open")) fill(detail, pollMs, given);
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
 * @param {Given} given
 */
function fill(detail, pollMs, given) {
  const { connectionStatus, describe } = given;
  const status = connectionStatus.value;
  write(part(detail, "reason"), describe(status).sentence);
  write(part(detail, "mode"), modeOf(status, pollMs));
  write(part(detail, "next"), nextAttempt(status.nextAttemptAt));
  write(part(detail, "pause"), status.paused ? "Resume this tab" : "Pause this tab");
  part(detail, "https").hidden = status.role !== "alone" || window.isSecureContext;
  showLastEvent(part(detail, "last"), connectionStatus.lastEventAt, given);
  showErrors(part(detail, "errors"), status.errors, given);
}

/** @param {number | null} at */
function nextAttempt(at) {
  if (at === null) return "none planned";
  return at <= Date.now() ? "now" : `in ${Math.ceil((at - Date.now()) / 1_000)} s`;
}

/**
 * @param {HTMLElement} place
 * @param {number | null} at
 * @param {Given} given
 */
function showLastEvent(place, at, { moment, tick }) {
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
 * @param {readonly import("../connection/status.js").Trouble[]} errors
 * @param {Given} given
 */
function showErrors(place, errors, given) {
  const list = part(place, "error-list");
  place.hidden = errors.length === 0;
  if (list.dataset.newest === String(errors.at(-1)?.at)) return;
  list.dataset.newest = String(errors.at(-1)?.at);
  list.replaceChildren(...[...errors].reverse().map((error) => errorRow(error, given)));
}

/**
 * @param {import("../connection/status.js").Trouble} trouble
 * @param {Given} given
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

/**
 * How this tab comes by its events.
 * @param {Pick<import("../connection/status.js").Status, "state" | "role" | "paused"> & { reason?: string }} status
 * @param {number} pollMs
 */
export function modeOf({ state, reason = "", role, paused }, pollMs) {
  const shared = { leader: ", for all tabs of this browser", follower: ", through another tab", alone: "", asleep: "" }[role];
  return `${wayOf(state, reason, pollMs)}${shared}${paused ? "; paused here" : ""}`;
}

/**
 * @param {string} state
 * @param {string} reason
 * @param {number} pollMs
 */
function wayOf(state, reason, pollMs) {
  if (state === "connected" && reason !== "late") return "Live stream";
  if (state === "reconnecting") return "Asking once with each attempt";
  return reason === "no-network" || OVER.includes(reason) ? "Asking nobody" : `Asking every ${pollMs / 1_000} s`;
}
