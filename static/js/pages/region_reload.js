// @ts-check
/**
 * Reloads regions from the script of a single page: regions.js, which knows what is in use, is part of app.js and must not be
 * loaded twice, so the request is an event.
 * @param {(page: ParentNode) => void} before  sees the new page before any of it is shown
 * @param {(region: string) => boolean} wants
 * @returns {Promise<unknown>}
 */
export function reloadRegions(before, wants) {
  return new Promise((resolve, reject) => {
    document.dispatchEvent(new CustomEvent("beacon:reload", { detail: { before, wants, resolve, reject } }));
  });
}

/** Whether the reader has paused the page. */
export const isPaused = () => document.documentElement.hasAttribute("data-paused");
