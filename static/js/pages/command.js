// @ts-check
import { Refetch } from "../lib/refetch.js";
import { reloadRegions } from "./region_reload.js";

/** The page of one command: its phase comes by the stream, its log and results are loaded again when there is more. */

const REFETCH_SPREAD_MS = 300;

const commandId = /** @type {HTMLElement | null} */ (document.querySelector("[data-command-page]"))?.dataset.commandPage;
const refetch = new Refetch(async () => {
  await reloadRegions(() => {}, (region) => region.startsWith("command"));
}, REFETCH_SPREAD_MS);

document.addEventListener("htmx:before:swap", (event) => {
  const tasks = /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks);
  const updates = tasks.flatMap(({ fragment }) => [.../** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll("[data-command]"))]);
  if (updates.some((one) => one.dataset.command === commandId)) refetch.soon();
});
