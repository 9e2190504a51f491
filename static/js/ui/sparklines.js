// @ts-check
import { pollFragment } from "./fragment_poll.js";

/** Sparklines: no event tells of a minute that is over, so a page that somebody looks at asks for them once a minute. */

const POLL_INTERVAL_MS = 60_000;

export function watchSparklines() {
  if (document.querySelector(".tile-trend")) pollFragment("/trends", POLL_INTERVAL_MS, showSparklines);
}

/**
 * A pushed tile knows no history: it keeps the one on the screen.
 * @param {DocumentFragment} fragment
 */
export function keepSparklines(fragment) {
  for (const place of fragment.querySelectorAll(".tile-trend")) {
    const shown = document.getElementById(place.id);
    if (shown) place.replaceChildren(...shown.cloneNode(true).childNodes);
  }
}

/**
 * A failure shows by itself: the line no longer reaches to now, and the connection says why.
 * @param {HTMLElement | null} body
 */
function showSparklines(body) {
  for (const fresh of body?.querySelectorAll("[id^=trend-]") ?? []) {
    document.getElementById(fresh.id)?.replaceChildren(...fresh.childNodes);
  }
}
