// @ts-check
/** Where pointer and focus are: content above them must not push away what the reader is about to click. */

/** A pointer that has not moved for this long is idle: nobody is about to click. */
const POINTER_IDLE_MS = 60_000;

/** Reading positions forces a layout, so an answer is kept this long, or until the pointer moves. */
const CHECK_INTERVAL_MS = 250;

/** @type {{ y: number, at: number } | null} */
let pointer = null;
let lastCheck = { at: -Infinity, below: false };

export function watchPointer() {
  addEventListener("pointermove", trackPointer, { passive: true });
  addEventListener("pointerover", trackPointer, { passive: true });
  document.documentElement.addEventListener("pointerleave", () => { pointer = null; resetCheck(); });
  for (const name of ["scroll", "focusin", "focusout"]) document.addEventListener(name, resetCheck, { passive: true });
}

function resetCheck() {
  lastCheck = { at: -Infinity, below: false };
}

/** @param {PointerEvent} event */
function trackPointer(event) {
  resetCheck();
  const inside = event.pointerType !== "touch" && event.target instanceof Element && event.target.closest("main");
  pointer = inside ? { y: event.clientY, at: Date.now() } : null;
}

/**
 * Whether pointer or focus is below `element` on the same screen. If it is scrolled out of view nothing moves, thanks to the
 * browser's scroll anchoring.
 * @param {Element} element
 */
export function isPointerBelow(element) {
  const now = performance.now();
  if (document.hidden || (pointerY() === null && !focusedElement())) return false;
  if (now - lastCheck.at >= CHECK_INTERVAL_MS) lastCheck = { at: now, below: checkBelow(element) };
  return lastCheck.below;
}

/** @param {Element} element */
function checkBelow(element) {
  const { top, bottom } = element.getBoundingClientRect();
  const bar = document.querySelector(".bar")?.getBoundingClientRect().bottom ?? 0;
  if (bottom <= bar || top >= innerHeight) return false;
  return [pointerY(), focusedElement()?.getBoundingClientRect().top ?? null].some((y) => y !== null && y >= bottom && y < innerHeight);
}

function pointerY() {
  return pointer && Date.now() - pointer.at < POINTER_IDLE_MS ? pointer.y : null;
}

function focusedElement() {
  return document.activeElement?.closest("main *") ?? null;
}
