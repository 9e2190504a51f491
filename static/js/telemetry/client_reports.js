// @ts-check
import { Measure } from "./connection_stats.js";

/** Tells the server what this page measured of its connection. Nothing waits for it, and nobody hears of its failures. */

const ADDRESS = "/api/client-reports";
/** The server takes one a 30 s from all pages of a login. */
const APART_MS = 31_000;
const EVERY_MS = 33_000;
const LAST = "beacon-reported";

/**
 * Now and then, and once when the page is left.
 * @param {string} csrf
 * @param {((measure: Measure) => void)[]} earlier  what happened before this module had come
 * @returns {(tell: (measure: Measure) => void) => void}  tells it what happens from here on
 */
export function startReports(csrf, earlier) {
  const measure = new Measure();
  for (const tell of earlier) tell(measure);
  setInterval(() => report(measure, csrf), EVERY_MS);
  addEventListener("pagehide", () => report(measure, csrf));
  return (tell) => tell(measure);
}

/**
 * @param {Measure} measure
 * @param {string} csrf
 */
function report(measure, csrf) {
  if (!isDue(Date.now())) return;
  const taken = measure.take();
  if (!taken) return;
  noteSent();
  const headers = { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrf };
  // The server counts from when it came there, which is before its answer.
  fetch(ADDRESS, { method: "POST", headers, body: JSON.stringify(taken), credentials: "same-origin", keepalive: true }).then(noteSent, () => {});
}

/**
 * Other tabs, and the pages before this one, are the same login. A clock that was set back makes nobody wait.
 * @param {number} now
 */
function isDue(now) {
  try {
    const ago = now - Number(localStorage.getItem(LAST));
    return ago < 0 || ago >= APART_MS;
  } catch {
    return false; // no storage: a refusal would show in the console
  }
}

function noteSent() {
  try {
    localStorage.setItem(LAST, String(Date.now()));
  } catch {
    // full: the next one may be refused
  }
}
