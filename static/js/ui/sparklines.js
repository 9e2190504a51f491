// @ts-check
import { pollFragment } from "./fragment_poll.js";

/** Sparklines: no event marks the end of a minute, so a visible page polls for them once a minute. */

const POLL_INTERVAL_MS = 60_000;

export function watchSparklines() {
  if (document.querySelector(".tile-trend")) pollFragment(`/trends${location.search}`, POLL_INTERVAL_MS, showSparklines);
}

/**
 * A pushed tile contains neither history nor causes of failures, so it keeps those on the screen.
 * @param {DocumentFragment} fragment
 */
export function keepTileParts(fragment) {
  for (const place of fragment.querySelectorAll(".tile-trend, .tile-causes")) {
    const shown = document.querySelector(`#${place.closest(".tile")?.id} .${place.className}`);
    if (shown) place.replaceChildren(...shown.cloneNode(true).childNodes);
  }
}

/**
 * A failure needs no message: the line no longer reaches to now, and the connection's badge says why.
 * @param {HTMLElement | null} body
 */
function showSparklines(body) {
  for (const fresh of body?.querySelectorAll("[id^=trend-]") ?? []) {
    document.getElementById(fresh.id)?.replaceChildren(...fresh.childNodes);
  }
}
