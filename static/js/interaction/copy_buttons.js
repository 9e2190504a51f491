// @ts-check
import { announce } from "../ui/announcements.js";

/** A button beside each id that copies it whole; there is none where the browser has no clipboard (plain HTTP off localhost). */

const DONE_MS = 1_500;

export function watchCopies() {
  addCopies(document);
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest(".copy") : null;
    if (button instanceof HTMLButtonElement) copy(button);
  });
}

/** @param {ParentNode} root  before it is shown, so that nothing moves */
export function addCopies(root) {
  if (!navigator.clipboard) return;
  for (const id of root.querySelectorAll(":is(tr, .strip-row) code.id")) {
    if (!id.nextElementSibling?.matches(".copy")) id.after(makeButton(id.textContent));
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
async function copy(button) {
  const copied = await navigator.clipboard.writeText(button.dataset.copy ?? "").then(() => true, () => false);
  show(button, copied ? "Copied" : "The browser refuses: select the id instead", copied);
  announce(copied ? "Copied." : "Not copied: the browser refuses.", "copy");
  setTimeout(() => show(button, "Copy", null), DONE_MS);
}

/**
 * @param {HTMLButtonElement} button
 * @param {string} title
 * @param {boolean | null} copied
 */
function show(button, title, copied) {
  button.title = title;
  if (copied === null) button.removeAttribute("data-copied");
  else button.dataset.copied = String(copied);
}
