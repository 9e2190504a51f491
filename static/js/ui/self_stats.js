// @ts-check
import { pollFragment } from "./fragment_poll.js";

/** Beacon's own resource use in the footer; without an answer, old figures are cleared. */

const POLL_INTERVAL_MS = 30_000;

export function watchSelfStats() {
  const place = document.getElementById("cost");
  if (!place) return;
  pollFragment("/cost", POLL_INTERVAL_MS, (body) => {
    if (body) place.replaceChildren(...body.childNodes);
    else for (const figure of place.querySelectorAll("b")) figure.textContent = "—";
  });
}
