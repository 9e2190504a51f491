// @ts-check
import { Refetch } from "../refetch.js";
import { isPaused, reload } from "./reload.js";

/**
 * The page of the rollout: its own script. What it shows is loaded again when the flag changed, and now and then, for what
 * no event tells of: who is online, what browsers report. Who would switch is asked for without leaving the page.
 */

const JITTER_MS = 500; // everybody who looks at it hears of a change at once
const EVERY_MS = 15_000;
const TIMEOUT_MS = 10_000;

const refetch = new Refetch(async () => {
  await reload(() => {}, (region) => region.startsWith("rollout-"));
}, JITTER_MS);

document.addEventListener("beacon:signal", (event) => {
  const { type } = /** @type {CustomEvent<{ type?: unknown }>} */ (event).detail;
  if (type === "flag.changed") refetch.soon();
});

setInterval(() => {
  if (!document.hidden && !isPaused()) refetch.soon();
}, EVERY_MS);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.matches("[data-look]")) return;
  event.preventDefault();
  const query = new URLSearchParams(/** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form, event.submitter))));
  const address = `/rollout?${query}`;
  look(address).catch(() => location.assign(`${address}#review`)); // the browser says better than we what is wrong
});

/**
 * Shows the review of another percentage in the place of this one; a reason that was typed stays.
 * @param {string} address
 */
async function look(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [shown, fresh] = [document.getElementById("review"), page.getElementById("review")];
  if (!shown || !fresh || page.body.dataset.session !== document.body.dataset.session) throw new Error("another page");
  const reason = /** @type {HTMLInputElement | null} */ (shown.querySelector("#reason"));
  const next = /** @type {HTMLInputElement | null} */ (fresh.querySelector("#reason"));
  if (reason && next) next.value = reason.value;
  shown.replaceWith(document.adoptNode(fresh));
  history.replaceState(null, "", address);
  /** @type {HTMLElement | null} */ (fresh.querySelector("#review-title"))?.focus();
}
