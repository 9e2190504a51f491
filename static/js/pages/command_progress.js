// @ts-check
import { ownAddress } from "../lib/own_address.js";
import { showToast } from "../ui/toast.js";

/**
 * Shows the progress of a command where it was pressed: that it is being sent, and what came of it.
 *
 * @typedef {import("./command_form.js").Submission} Submission
 */

/**
 * In the row, at once; later the stream writes to the same place.
 * @param {Submission} submission
 * @param {string} id
 * @returns {(...content: (string | Node)[]) => void}  called when sending is over, with the text of the row, unless the stream has written one
 */
export function showProgress({ form, button }, id) {
  const buttons = button ? rowButtons(button) : [];
  const place = progressCell(button);
  if (place) {
    place.id = `command-${id}`;
    place.textContent = `${button?.dataset.progress ?? "sending"}…`;
  } else form.setAttribute("aria-busy", "true");
  for (const one of buttons) one.setAttribute("aria-disabled", "true");
  hideError();
  return (...content) => {
    for (const one of buttons) one.removeAttribute("aria-disabled");
    form.removeAttribute("aria-busy");
    if (place && place.querySelector("[data-phase]") === null) place.replaceChildren(...content);
  };
}

/** @param {HTMLElement | null} button */
export function progressCell(button) {
  return /** @type {HTMLElement | null} */ (button?.closest("tr")?.querySelector(".acted") ?? null);
}

/**
 * All buttons of its row, or the button alone.
 * @param {Element} button
 */
export function rowButtons(button) {
  return [...(button.closest("tr")?.querySelectorAll(".act-on") ?? [button])];
}

/**
 * @param {Submission} submission
 * @param {{ text: string, word?: string }} content
 * @param {string} [address]  of the conflicting command
 */
export function showError({ form }, content, address) {
  const box = "review" in form.dataset ? document.getElementById("refused") : null;
  if (!box) {
    showToast({ severity: "error", ...content });
    return;
  }
  box.replaceChildren(content.word ? `${content.word}. ${content.text}` : content.text, ...(address ? [" ", createLink(address, "Look at it")] : []));
  box.hidden = false;
}

/** The error of an earlier press. */
function hideError() {
  const box = document.getElementById("refused");
  if (box) box.hidden = true;
}

/**
 * @param {string} address
 * @param {string} words
 */
export function createLink(address, words) {
  const made = document.createElement("a");
  made.href = ownAddress(address);
  made.textContent = words;
  return made;
}
