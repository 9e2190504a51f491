// @ts-check
/** Where the reader's hands are: what stands above them must not push away what they are about to touch. */

/** A pointer that has not moved for so long was left there: nobody is about to click. */
const LEFT_MS = 60_000;

/** @type {{ y: number, at: number } | null} */
let pointer = null;

export function watchHands() {
  addEventListener("pointermove", note, { passive: true });
  addEventListener("pointerover", note, { passive: true });
  document.documentElement.addEventListener("pointerleave", () => { pointer = null; });
}

/** @param {PointerEvent} event */
function note(event) {
  const inside = event.pointerType !== "touch" && event.target instanceof Element && event.target.closest("main");
  pointer = inside ? { y: event.clientY, at: Date.now() } : null;
}

/**
 * Whether pointer or focus is below `element` on the same screen. Where it is scrolled away nothing moves: the browser
 * keeps in its place what is looked at.
 * @param {Element} element
 */
export function areBelow(element) {
  const { top, bottom } = element.getBoundingClientRect();
  const bar = document.querySelector(".bar")?.getBoundingClientRect().bottom ?? 0;
  if (document.hidden || bottom <= bar || top >= innerHeight) return false;
  return [pointerAt(), focusAt()].some((y) => y !== null && y >= bottom && y < innerHeight);
}

function pointerAt() {
  return pointer && Date.now() - pointer.at < LEFT_MS ? pointer.y : null;
}

function focusAt() {
  const focused = document.activeElement?.closest("main *");
  return focused ? focused.getBoundingClientRect().top : null;
}
