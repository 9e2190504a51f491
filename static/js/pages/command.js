// @ts-check
import { Refetch } from "../lib/refetch.js";
import { reload } from "./region_reload.js";

/** The page of one command: its phase comes by the stream, its log and results are loaded again when there is more. */

const JITTER_MS = 300;

const id = /** @type {HTMLElement | null} */ (document.querySelector("[data-command-page]"))?.dataset.commandPage;
const again = new Refetch(async () => {
  await reload(() => {}, (region) => region.startsWith("command"));
}, JITTER_MS);

document.addEventListener("htmx:before:swap", (event) => {
  const tasks = /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks);
  const told = tasks.flatMap(({ fragment }) => [.../** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll("[data-command]"))]);
  if (told.some((one) => one.dataset.command === id)) again.soon();
});
