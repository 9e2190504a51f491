// @ts-check
import { DifferentUserError, ResponseError, fetchChecked } from "../lib/http.js";

/** Tokens are renewed before they expire, because the request takes time too. */
const RENEWAL_MARGIN_MS = 10_000;

/** The short-lived token of this page's streams, kept in memory only: not in storage, not in the URL. */
export class StreamTokenSource {
  #token = "";
  #endsAt = 0;
  #csrf;
  #session;

  /**
   * @param {string} csrf
   * @param {string} session  the login session of this page
   */
  constructor(csrf, session) {
    this.#csrf = csrf;
    this.#session = session;
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<string>}
   */
  async get(signal) {
    if (this.#token && Date.now() < this.#endsAt) return this.#token;
    const headers = { "X-CSRFToken": this.#csrf, Accept: "application/json" };
    const response = await fetchChecked("/api/stream/token", { method: "POST", headers, signal }, "application/json");
    const answer = await response.json();
    if (typeof answer.token !== "string") throw new ResponseError("no-token", response.status);
    if (answer.session !== this.#session) throw new DifferentUserError();
    this.#token = answer.token;
    this.#endsAt = Date.now() + answer.expiresInS * 1_000 - RENEWAL_MARGIN_MS;
    return this.#token;
  }

  drop() {
    this.#token = "";
  }
}
