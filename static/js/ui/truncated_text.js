// @ts-check
/** Text that does not fit is cut, and opens whole on a click, a tap or Enter. */

export function watchCut() {
  markCut();
  document.addEventListener("click", ({ target }) => {
    const text = target instanceof Element && !target.closest("a, button") ? target.closest(".cut") : null;
    if (text && getSelection()?.isCollapsed !== false) toggle(text);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.key !== "Enter" && event.key !== " ") || !(event.target instanceof Element) || !event.target.matches(".cut")) return;
    event.preventDefault();
    toggle(event.target);
  });
}

/** Only what is cut, or was opened, can be reached by the keyboard. */
export function markCut() {
  const all = [...document.querySelectorAll(".cut")];
  const cut = all.map((text) => isOpen(text) || text.scrollWidth > text.clientWidth); // read all, then write
  all.forEach((text, at) => offer(text, cut[at] === true));
}

/**
 * @param {Element} text
 * @param {boolean} cut
 */
function offer(text, cut) {
  if (text.hasAttribute("tabindex") === cut) return;
  if (cut) text.setAttribute("tabindex", "0");
  else text.removeAttribute("tabindex");
  if (cut) text.setAttribute("role", "button");
  else text.removeAttribute("role");
  sayOpen(text, cut);
}

/** @param {Element} text */
function toggle(text) {
  if (!text.hasAttribute("tabindex") && text.scrollWidth <= text.clientWidth) return;
  rowOf(text).toggleAttribute("data-whole");
  offer(text, true);
  sayOpen(text, true);
}

/**
 * @param {Element} text
 * @param {boolean} cut
 */
function sayOpen(text, cut) {
  if (cut) text.setAttribute("aria-expanded", String(isOpen(text)));
  else text.removeAttribute("aria-expanded");
}

/** @param {Element} text */
function isOpen(text) {
  return rowOf(text).hasAttribute("data-whole");
}

/** @param {Element} text */
function rowOf(text) {
  return text.closest("tr, li") ?? text;
}
