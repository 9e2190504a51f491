// @ts-check
/** The server's clock as this page knows it, so that ages are right where the reader's clock is wrong. */

/** `Date` headers are cut to whole seconds: only a larger difference says anything. */
const DATE_HEADER_ERROR_MS = 2_000;

let offsetMs = 0;

export function serverNow() {
  return Date.now() + offsetMs;
}

/**
 * The page was rendered at `iso`; its first byte is the nearest moment that the browser has noted.
 * @param {string} iso
 */
export function startClock(iso) {
  const [entry] = performance.getEntriesByType("navigation");
  const received = entry instanceof PerformanceNavigationTiming ? entry.responseStart : performance.now();
  const rendered = Date.parse(iso);
  if (Number.isFinite(rendered)) offsetMs = rendered - (performance.timeOrigin + received);
}

/**
 * A later word from the server; it also puts right a page that came from the browser's cache.
 * @param {number} epochMs
 */
export function adjustClock(epochMs) {
  if (!Number.isFinite(epochMs)) return;
  if (Math.abs(epochMs - serverNow()) > DATE_HEADER_ERROR_MS) offsetMs = epochMs - Date.now();
}
