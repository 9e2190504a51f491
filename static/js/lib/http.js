// @ts-check
import { adjustClock, serverNow } from "./server_clock.js";

/** A timer that is set to more than 24 days fires at once. */
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;

/** An answer that is not what was asked for. `reason` is the problem's own member, or a word for what came. */
export class ResponseError extends Error {
  /**
   * @param {string} reason
   * @param {number} status
   * @param {number} [retryAfterMs]
   */
  constructor(reason, status, retryAfterMs) {
    super(status ? `${status} ${reason}` : reason);
    this.reason = reason;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The answer is for another login than the one that this page was made for: none of it may be shown here. */
export class DifferentUserError extends Error {
  constructor() {
    super("somebody else is signed in");
  }
}

/**
 * A successful answer of the wanted type, or `ResponseError`; a redirect (to a login page, a captive portal) is an error.
 * @param {string} address
 * @param {RequestInit} options
 * @param {string} type
 */
export async function fetchChecked(address, options, type) {
  const response = await fetch(address, { cache: "no-store", credentials: "same-origin", redirect: "manual", ...options });
  adjustClock(Date.parse(response.headers.get("Date") ?? ""));
  if (response.type === "opaqueredirect") throw new ResponseError("redirect", 0);
  if (!response.ok) throw await errorFrom(response);
  if (!(response.headers.get("Content-Type") ?? "").startsWith(type)) {
    throw new ResponseError("wrong-type", response.status);
  }
  return response;
}

/** @param {Response} response */
async function errorFrom(response) {
  const problem = await response.json().catch(() => ({}));
  return new ResponseError(String(problem.reason ?? "refused"), response.status, parseRetryAfter(response.headers.get("Retry-After")));
}

/**
 * Seconds, or a date as some proxies write it.
 * @param {string | null} text
 * @returns {number | undefined}  milliseconds
 */
export function parseRetryAfter(text) {
  if (!text) return undefined;
  const ms = Number.isFinite(Number(text)) ? Number(text) * 1_000 : Date.parse(text) - serverNow();
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}
