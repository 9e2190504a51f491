// @ts-check
import { heardServerTime } from "./clock.js";

/** An answer that is not what was asked for. `reason` is the problem's own member, or a word for what came. */
export class Refused extends Error {
  /**
   * @param {string} reason
   * @param {number} status
   * @param {number} [retryAfterMs]
   */
  constructor(reason, status, retryAfterMs) {
    super(`${status} ${reason}`);
    this.reason = reason;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The answer is for another login than the one that this page was made for: none of it may be shown here. */
export class OtherUser extends Error {
  constructor() {
    super("somebody else is signed in");
  }
}

/**
 * A successful answer of the wanted type, or `Refused`; a redirect (to a login page, a captive portal) is an error.
 * @param {string} address
 * @param {RequestInit} options
 * @param {string} type
 */
export async function fetchChecked(address, options, type) {
  const response = await fetch(address, { cache: "no-store", credentials: "same-origin", redirect: "error", ...options });
  heardServerTime(Date.parse(response.headers.get("Date") ?? ""));
  if (!response.ok) throw await refusal(response);
  if (!(response.headers.get("Content-Type") ?? "").startsWith(type)) {
    throw new Refused("wrong-type", response.status);
  }
  return response;
}

/** @param {Response} response */
async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : undefined;
  return new Refused(String(problem.reason ?? "refused"), response.status, retryAfterMs);
}
