// @ts-check
import { Refetch } from "../lib/refetch.js";
import { isPaused, reloadRegions } from "./region_reload.js";

/** The script of the failures pages. It reloads what they show when the failed jobs of a service or their causes change. */

const REFETCH_SPREAD_MS = 500; // with the answer, less than a second

const refetch = new Refetch(async () => {
  if (!isPaused()) await reloadRegions(() => {}, (region) => region.includes("failure"));
}, REFETCH_SPREAD_MS);

document.addEventListener("htmx:before:swap", (event) => {
  const tasks = /** @type {{ fragment: DocumentFragment }[]} */ (/** @type {CustomEvent} */ (event).detail.tasks);
  if (tasks.some(({ fragment }) => fragment.querySelector("[id^=failing-]"))) refetch.soon();
});
