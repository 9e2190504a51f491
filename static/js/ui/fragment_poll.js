// @ts-check
import { fetchChecked } from "../lib/http.js";
import { connectionStatus } from "../connection/status.js";

const TIMEOUT_MS = 10_000;

/**
 * Polls for a part of the page that no event updates, while the page is visible. `show` gets null if there was no answer.
 * @param {string} address
 * @param {number} intervalMs
 * @param {(body: HTMLElement | null) => void} show
 */
export function pollFragment(address, intervalMs, show) {
  setInterval(async () => {
    if (document.hidden || connectionStatus.value.paused) return;
    const options = { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) };
    // The time-out may also fire while the body is being read.
    const text = await fetchChecked(address, options, "text/html").then((response) => response.text()).catch(() => null);
    show(text === null ? null : new DOMParser().parseFromString(text, "text/html").body);
  }, intervalMs);
}
