// @ts-check
import { announce } from "../ui/announcements.js";

/** A button beside each id that copies it; browsers have no clipboard on plain HTTP, except on localhost. */

const COPIED_SHOWN_MS = 1_500;

export function watchCopyButtons() {
  addCopyButtons(document);
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest(".copy") : null;
    if (button instanceof HTMLButtonElement) copyId(button);
  });
}

/** @param {ParentNode} root  before it is shown, so that nothing moves */
export function addCopyButtons(root) {
  if (!navigator.clipboard) return;
  for (const id of root.querySelectorAll(":is(tr, .strip-row) code.id")) {
    const whole = id.closest("a") ?? id; // a button in a link would follow it
    if (!whole.nextElementSibling?.matches(".copy")) whole.after(makeButton(id.textContent));
  }
}

/** @param {string} id */
function makeButton(id) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.title = "Copy";
  button.setAttribute("aria-label", `Copy ${id}`);
  button.dataset.copy = id;
  return button;
}

/** @param {HTMLButtonElement} button */
async function copyId(button) {
  const copied = await navigator.clipboard.writeText(button.dataset.copy ?? "").then(() => true, () => false);
  setButtonState(button, copied ? "Copied" : "The browser refuses: select the id instead", copied);
  announce(copied ? "Copied." : "Not copied: the browser refuses.", "copy");
  setTimeout(() => setButtonState(button, "Copy", null), COPIED_SHOWN_MS);
}

/**
 * @param {HTMLButtonElement} button
 * @param {string} title
 * @param {boolean | null} copied
 */
function setButtonState(button, title, copied) {
  button.title = title;
  if (copied === null) button.removeAttribute("data-copied");
  else button.dataset.copied = String(copied);
}
