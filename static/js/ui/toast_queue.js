// @ts-check
/** Queues toasts until their module is loaded, just after the page: there may be no network when one is needed. */

const RETRY_DELAY_MS = 5_000;

/** @typedef {import("./toast.js").Toast} Toast */
/** @type {((toast: Toast) => unknown) | null} */
let showLoaded = null;
/** @type {Toast[]} */
const queue = [];

export function loadToasts() {
  import("./toast.js").then((toast) => {
    showLoaded = toast.showToast;
    queue.splice(0).forEach(showLoaded);
  }).catch(() => setTimeout(loadToasts, RETRY_DELAY_MS));
}

/** @param {Toast} toast */
export function showToast(toast) {
  if (showLoaded) showLoaded(toast);
  else queue.push(toast);
}
