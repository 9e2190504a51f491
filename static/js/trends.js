// @ts-check
import { fetchChecked } from "./http.js";
import { connectionStatus } from "./status.js";

/** Sparklines: no event tells of a minute that is over, so a page that somebody looks at asks for them once a minute. */

const EVERY_MS = 60_000;
const TIMEOUT_MS = 10_000;

export function watchTrends() {
  if (document.querySelector(".tile-trend")) setInterval(load, EVERY_MS);
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

/** A failure shows by itself: the line no longer reaches to now, and the connection says why. */
async function load() {
  if (document.hidden || connectionStatus.value.paused) return;
  const options = { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) };
  const text = await fetchChecked("/trends", options, "text/html").then((response) => response.text()).catch(() => null);
  if (text === null) return; // the end of the time may come in the middle of the answer, too
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const fresh of page.querySelectorAll("[id^=trend-]")) {
    document.getElementById(fresh.id)?.replaceChildren(...fresh.childNodes);
  }
}
