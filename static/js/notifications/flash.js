// @ts-check
import { serverNow } from "../lib/server_clock.js";
import { showToast } from "../ui/toast_queue.js";

/** Operators' messages: they stay until the reader dismisses them or they expire. */

/** @param {(form: HTMLFormElement, submitter: HTMLElement | null) => Promise<unknown>} send */
export function watchFlashes(send) {
  removeExpired();
  setInterval(removeExpired, 1_000);
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.id !== "flash-form") return;
    event.preventDefault();
    const button = event.submitter;
    send(form, button)
      .then(() => removeFlash(button?.closest(".flash") ?? null))
      .catch(() => showToast({ severity: "error", text: "The message could not be put away. Try again." }));
  });
}

/** @param {Iterable<string>} ids  messages that this user has dismissed, perhaps in another tab */
export function removeFlashes(ids) {
  for (const id of ids) document.getElementById(`flash-${id}`)?.remove();
}

function removeExpired() {
  const now = serverNow();
  for (const flash of document.querySelectorAll(".flash")) {
    if (Date.parse(/** @type {HTMLElement} */ (flash).dataset.until ?? "") <= now) flash.remove();
  }
}

/** @param {Element | null} flash */
function removeFlash(flash) {
  const hadFocus = flash?.contains(document.activeElement);
  flash?.remove();
  if (hadFocus) document.getElementById("bell")?.focus({ preventScroll: true });
}
