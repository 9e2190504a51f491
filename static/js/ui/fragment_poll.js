// @ts-check
import { fetchChecked } from "../lib/http.js";
import { connectionStatus } from "../connection/status.js";

const TIMEOUT_MS = 10_000;

/**
 * Asks for a part of the page again and again while somebody looks at it: what no event tells of. `show` gets null where
 * there was no answer.
 * @param {string} address
 * @param {number} intervalMs
 * @param {(body: HTMLElement | null) => void} show
 */
export function pollFragment(address, intervalMs, show) {
  setInterval(async () => {
    if (document.hidden || connectionStatus.value.paused) return;
    const options = { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) };
    // The end of the time may come in the middle of the answer, too.
    const text = await fetchChecked(address, options, "text/html").then((response) => response.text()).catch(() => null);
    show(text === null ? null : new DOMParser().parseFromString(text, "text/html").body);
  }, intervalMs);
}
