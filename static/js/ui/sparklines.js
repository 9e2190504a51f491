// @ts-check
import { askNowAndThen } from "./fragment_poll.js";

/** Sparklines: no event tells of a minute that is over, so a page that somebody looks at asks for them once a minute. */

const EVERY_MS = 60_000;

export function watchTrends() {
  if (document.querySelector(".tile-trend")) askNowAndThen("/trends", EVERY_MS, show);
}

/**
 * A pushed tile knows no history: it keeps the one on the screen.
 * @param {DocumentFragment} fragment
 */
export function keepTrends(fragment) {
  for (const place of fragment.querySelectorAll(".tile-trend")) {
    const shown = document.getElementById(place.id);
    if (shown) place.replaceChildren(...shown.cloneNode(true).childNodes);
  }
}

/**
 * A failure shows by itself: the line no longer reaches to now, and the connection says why.
 * @param {HTMLElement | null} body
 */
function show(body) {
  for (const fresh of body?.querySelectorAll("[id^=trend-]") ?? []) {
    document.getElementById(fresh.id)?.replaceChildren(...fresh.childNodes);
  }
}
