// @ts-check
import { ConnectionStats } from "./connection_stats.js";

/** Tells the server what this page measured of its connection. Nothing waits for it, and nobody hears of its failures. */

const ADDRESS = "/api/client-reports";
/** The server takes one a 30 s from all pages of a login. */
const MIN_INTERVAL_MS = 31_000;
const REPORT_INTERVAL_MS = 33_000;
const LAST_REPORT_KEY = "beacon-reported";

/**
 * Now and then, and once when the page is left.
 * @param {string} csrf
 * @param {((measure: ConnectionStats) => void)[]} pending  what happened before this module had come
 * @returns {(tell: (measure: ConnectionStats) => void) => void}  tells it what happens from here on
 */
export function startClientReports(csrf, pending) {
  const stats = new ConnectionStats();
  for (const record of pending) record(stats);
  setInterval(() => sendReport(stats, csrf), REPORT_INTERVAL_MS);
  addEventListener("pagehide", () => sendReport(stats, csrf));
  return (record) => record(stats);
}

/**
 * @param {ConnectionStats} stats
 * @param {string} csrf
 */
function sendReport(stats, csrf) {
  if (!mayReport(Date.now())) return;
  const report = stats.takeReport();
  if (!report) return;
  rememberReport();
  const headers = { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrf };
  // The server counts from when it came there, which is before its answer.
  fetch(ADDRESS, { method: "POST", headers, body: JSON.stringify(report), credentials: "same-origin", keepalive: true }).then(rememberReport, () => {});
}

/**
 * Other tabs, and the pages before this one, are the same login. A clock that was set back makes nobody wait.
 * @param {number} now
 */
function mayReport(now) {
  try {
    const formatAgo = now - Number(localStorage.getItem(LAST_REPORT_KEY));
    return formatAgo < 0 || formatAgo >= MIN_INTERVAL_MS;
  } catch {
    return false; // no storage: a refusal would show in the console
  }
}

function rememberReport() {
  try {
    localStorage.setItem(LAST_REPORT_KEY, String(Date.now()));
  } catch {
    // full: the next one may be refused
  }
}
