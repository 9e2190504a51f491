// @ts-check
/** The server's clock as this page knows it, so that ages are right even if the reader's clock is wrong. */

/** `Date` headers have whole seconds, so only a larger difference means anything. */
const DATE_HEADER_ERROR_MS = 2_000;

let offsetMs = 0;

export function serverNow() {
  return Date.now() + offsetMs;
}

/**
 * The page was rendered at `iso`; the arrival of its first byte is the nearest time that the browser knows.
 * @param {string} iso
 */
export function startClock(iso) {
  const [entry] = performance.getEntriesByType("navigation");
  const received = entry instanceof PerformanceNavigationTiming ? entry.responseStart : performance.now();
  const rendered = Date.parse(iso);
  if (Number.isFinite(rendered)) offsetMs = rendered - (performance.timeOrigin + received);
}

/**
 * Adjusts the clock by a later answer; this also corrects a page from the browser's cache.
 * @param {number} epochMs
 */
export function adjustClock(epochMs) {
  if (!Number.isFinite(epochMs)) return;
  if (Math.abs(epochMs - serverNow()) > DATE_HEADER_ERROR_MS) offsetMs = epochMs - Date.now();
}
