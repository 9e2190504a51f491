// @ts-check
/**
 * Loads what only a person needs: with the first sign of one, which is long before a click can be finished. A page that nobody
 * touches does without it. If loading fails, a later sign tries again.
 */

const RETRY_DELAY_MS = 5_000;
const SIGNS = ["pointerdown", "pointermove", "keydown", "focusin", "wheel", "click"];

/**
 * @param {() => Promise<unknown>} load
 * @param {(error: unknown) => void} failed
 */
export function loadAtFirstUse(load, failed) {
  const signs = new AbortController();
  const begin = () => {
    signs.abort(); // one attempt at a time
    load().catch((error) => {
      failed(error);
      setTimeout(() => loadAtFirstUse(load, failed), RETRY_DELAY_MS);
    });
  };
  for (const name of SIGNS) addEventListener(name, begin, { capture: true, passive: true, signal: signs.signal });
}
