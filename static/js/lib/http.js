// @ts-check
import { ownAddress } from "./own_address.js";
import { adjustClock, serverNow } from "./server_clock.js";

/** Below the limit of timers: one of more than 24 days fires at once. */
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;

/** An unexpected answer. `reason` comes from the problem's JSON, or names what is wrong. */
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

/** The answer belongs to another login session than this page: none of it may be shown. */
export class DifferentUserError extends Error {
  constructor() {
    super("somebody else is signed in");
  }
}

/**
 * Fetches a successful answer of this type, or throws `ResponseError`; a redirect (login page, captive portal) is an error.
 * @param {string} address  a path of Beacon, or a whole address
 * @param {RequestInit} options
 * @param {string} type
 */
export async function fetchChecked(address, options, type) {
  const response = await fetch(address[0] === "/" ? ownAddress(address) : address, { cache: "no-store", credentials: "same-origin", redirect: "manual", ...options });
  adjustClock(Date.parse(response.headers.get("Date") ?? ""));
  if (response.type === "opaqueredirect") throw new ResponseError("redirect", 0);
  if (!response.ok) throw await errorFrom(response);
  if (!(response.headers.get("Content-Type") ?? "").startsWith(type)) {
    throw new ResponseError("wrong-type", response.status);
  }
  return response;
}

/**
 * A server error that is not JSON comes from a proxy that cannot reach Beacon.
 * @param {Response} response
 */
async function errorFrom(response) {
  const problem = await response.json().catch(() => ({ reason: response.status < 500 ? "refused" : "gateway" }));
  return new ResponseError(String(problem.reason ?? "refused"), response.status, parseRetryAfter(response.headers.get("Retry-After")));
}

/**
 * Seconds, or a date, which some proxies send.
 * @param {string | null} text
 * @returns {number | undefined}  milliseconds
 */
export function parseRetryAfter(text) {
  if (!text) return undefined;
  const ms = Number.isFinite(Number(text)) ? Number(text) * 1_000 : Date.parse(text) - serverNow();
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}
