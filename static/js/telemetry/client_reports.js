// @ts-check
import { ownAddress } from "../lib/own_address.js";
import { ConnectionStats } from "./connection_stats.js";

/** Sends the statistics of this page's connection to the server. Nothing waits for it, and failures are ignored. */

const ADDRESS = "/api/client-reports";
/** The server accepts one report per 30 s from all pages of a login session. */
const MIN_INTERVAL_MS = 31_000;
const REPORT_INTERVAL_MS = 33_000;
const LAST_REPORT_KEY = "beacon-reported";

/**
 * Reports regularly, and once when the page is left.
 * @param {string} csrf
 * @returns {(tell: (measure: ConnectionStats) => void) => void}  records what happens
 */
export function startClientReports(csrf) {
  const stats = new ConnectionStats();
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
  // The server counts from the arrival of the report, before its answer.
  fetch(ownAddress(ADDRESS), { method: "POST", headers, body: JSON.stringify(report), credentials: "same-origin", keepalive: true }).then(rememberReport, () => {});
}

/**
 * Other tabs and earlier pages have the same login session. A clock that was set back delays nothing.
 * @param {number} now
 */
function mayReport(now) {
  try {
    const formatAgo = now - Number(localStorage.getItem(LAST_REPORT_KEY));
    return formatAgo < 0 || formatAgo >= MIN_INTERVAL_MS;
  } catch {
    return false; // no storage, and a rejected report would show up in the console
  }
}

function rememberReport() {
  try {
    localStorage.setItem(LAST_REPORT_KEY, String(Date.now()));
  } catch {
    // the storage is full, so the next report may be rejected
  }
}
