// @ts-check
/**
 * How the script of a single page has regions loaded again: regions.js, which knows what the reader's hands are on, is
 * part of the script of every page and must be there once.
 * @param {(page: ParentNode) => void} before  sees the new page before any of it is shown
 * @param {(region: string) => boolean} wants
 * @returns {Promise<unknown>}
 */
export function reloadRegions(before, wants) {
  return new Promise((resolve, reject) => {
    document.dispatchEvent(new CustomEvent("beacon:reload", { detail: { before, wants, resolve, reject } }));
  });
}

/** Whether its reader holds what this page shows. */
export const isPaused = () => document.documentElement.hasAttribute("data-paused");
