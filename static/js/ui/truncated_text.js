// @ts-check
/** Text that does not fit is truncated, and expands on a click, a tap or Enter. */

export function watchTruncated() {
  markTruncated();
  document.addEventListener("click", ({ target }) => {
    const text = target instanceof Element && !target.closest("a, button") ? target.closest(".cut") : null;
    if (text && getSelection()?.isCollapsed !== false) toggleExpanded(text);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.key !== "Enter" && event.key !== " ") || !(event.target instanceof Element) || !event.target.matches(".cut")) return;
    event.preventDefault();
    toggleExpanded(event.target);
  });
}

/** Only truncated or expanded text can be focused. */
export function markTruncated() {
  const all = [...document.querySelectorAll(".cut")];
  const truncated = all.map((text) => isExpanded(text) || text.scrollWidth > text.clientWidth); // read all, then write
  all.forEach((text, at) => setExpandable(text, truncated[at] === true));
}

/**
 * @param {Element} text
 * @param {boolean} truncated
 */
function setExpandable(text, truncated) {
  if (text.hasAttribute("tabindex") === truncated) return;
  if (truncated) text.setAttribute("tabindex", "0");
  else text.removeAttribute("tabindex");
  if (truncated) text.setAttribute("role", "button");
  else text.removeAttribute("role");
  setAriaExpanded(text, truncated);
}

/** @param {Element} text */
function toggleExpanded(text) {
  if (!text.hasAttribute("tabindex") && text.scrollWidth <= text.clientWidth) return;
  findRow(text).toggleAttribute("data-whole");
  setExpandable(text, true);
  setAriaExpanded(text, true);
}

/**
 * @param {Element} text
 * @param {boolean} truncated
 */
function setAriaExpanded(text, truncated) {
  if (truncated) text.setAttribute("aria-expanded", String(isExpanded(text)));
  else text.removeAttribute("aria-expanded");
}

/** @param {Element} text */
function isExpanded(text) {
  return findRow(text).hasAttribute("data-whole");
}

/** @param {Element} text */
function findRow(text) {
  return text.closest("tr, li") ?? text;
}
