// @ts-check
import { ownAddress } from "../lib/own_address.js";

/** Reports an error of this page to the server: message and stack, never the page's content. */

const ADDRESS = "/audit/client-error";
const MAX_TEXT = 2_000;
/** The same error is reported once, and at most this many different ones. */
const MAX_REPORTS = 10;

/** @type {Set<string>} */
const reported = new Set();

/**
 * @param {unknown} error
 * @param {string} where  the part that failed: `script`, `promise`, `swap`, `stream`
 * @returns {{ where: string, message: string, stack: string, page: string }}
 */
export function describeError(error, where) {
  const known = error instanceof Error ? error : new Error(String(error));
  return { where, message: truncate(known.message || known.name), stack: truncate(known.stack ?? ""), page: location.pathname };
}

/**
 * Sends each error once; a failure to send is ignored.
 * @param {unknown} error
 * @param {string} where
 * @returns {void}
 */
export function reportError(error, where) {
  const report = describeError(error, where);
  const key = `${report.where} ${report.message}`;
  if (reported.has(key) || reported.size >= MAX_REPORTS) return;
  reported.add(key);
  const headers = { "Content-Type": "application/json" };
  fetch(ownAddress(ADDRESS), { method: "POST", headers, body: JSON.stringify(report), credentials: "same-origin", keepalive: true }).catch(() => {});
}

/** @param {string} text */
function truncate(text) {
  return text.slice(0, MAX_TEXT);
}
