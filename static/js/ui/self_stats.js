// @ts-check
import { askNowAndThen } from "./fragment_poll.js";

/** What Beacon itself costs, in the footer. Without an answer, what is old is not claimed. */

const EVERY_MS = 30_000;

export function watchCost() {
  const place = document.getElementById("cost");
  if (!place) return;
  askNowAndThen("/cost", EVERY_MS, (body) => {
    if (body) place.replaceChildren(...body.childNodes);
    else for (const figure of place.querySelectorAll("b")) figure.textContent = "—";
  });
}
