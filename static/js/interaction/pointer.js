// @ts-check
/** Where the reader's hands are: what stands above them must not push away what they are about to touch. */

/** A pointer that has not moved for so long was left there: nobody is about to click. */
const LEFT_MS = 60_000;

/** To ask where things lie makes the browser lay the page out: the answer holds for so long, or until the reader moves. */
const LOOK_EVERY_MS = 250;

/** @type {{ y: number, at: number } | null} */
let pointer = null;
let looked = { at: -Infinity, below: false };

export function watchHands() {
  addEventListener("pointermove", note, { passive: true });
  addEventListener("pointerover", note, { passive: true });
  document.documentElement.addEventListener("pointerleave", () => { pointer = null; forget(); });
  for (const name of ["scroll", "focusin", "focusout"]) document.addEventListener(name, forget, { passive: true });
}

function forget() {
  looked = { at: -Infinity, below: false };
}

/** @param {PointerEvent} event */
function note(event) {
  forget();
  const inside = event.pointerType !== "touch" && event.target instanceof Element && event.target.closest("main");
  pointer = inside ? { y: event.clientY, at: Date.now() } : null;
}

/**
 * Whether pointer or focus is below `element` on the same screen. Where it is scrolled away nothing moves: the browser
 * keeps in its place what is looked at.
 * @param {Element} element
 */
export function areBelow(element) {
  const now = performance.now();
  if (document.hidden || (pointerAt() === null && !focused())) return false;
  if (now - looked.at >= LOOK_EVERY_MS) looked = { at: now, below: lieBelow(element) };
  return looked.below;
}

/** @param {Element} element */
function lieBelow(element) {
  const { top, bottom } = element.getBoundingClientRect();
  const bar = document.querySelector(".bar")?.getBoundingClientRect().bottom ?? 0;
  if (bottom <= bar || top >= innerHeight) return false;
  return [pointerAt(), focused()?.getBoundingClientRect().top ?? null].some((y) => y !== null && y >= bottom && y < innerHeight);
}

function pointerAt() {
  return pointer && Date.now() - pointer.at < LEFT_MS ? pointer.y : null;
}

function focused() {
  return document.activeElement?.closest("main *") ?? null;
}
