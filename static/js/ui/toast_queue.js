// @ts-check
/** The messages at the bottom right. Their module comes just after the page: before anybody needs it, for there may be no network then. */

const AGAIN_MS = 5_000;

/** @typedef {import("./toast.js").Toast} Toast */
/** @type {((toast: Toast) => unknown) | null} */
let show = null;
/** @type {Toast[]} */
const waiting = [];

export function bringMessages() {
  import("./toast.js").then((toast) => {
    show = toast.showToast;
    waiting.splice(0).forEach(show);
  }).catch(() => setTimeout(bringMessages, AGAIN_MS));
}

/** @param {Toast} toast */
export function showToast(toast) {
  if (show) show(toast);
  else waiting.push(toast);
}
