// @ts-check
/** Queues toasts until their module is loaded: at the first use of the page, because there may be no network when one is needed. */

const RETRY_DELAY_MS = 5_000;

/** @typedef {import("./toast.js").Toast} Toast */
/** @type {((toast: Toast) => unknown) | null} */
let showLoaded = null;
/** @type {Toast[]} */
const queue = [];

export async function loadToasts() {
  showLoaded = (await import("./toast.js")).showToast;
  queue.splice(0).forEach(showLoaded);
}

/** @param {Toast} toast */
export function showToast(toast) {
  if (showLoaded) showLoaded(toast);
  else if (queue.push(toast) === 1) loadForQueue();
}

function loadForQueue() {
  loadToasts().catch(() => setTimeout(loadForQueue, RETRY_DELAY_MS));
}
