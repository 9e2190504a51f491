// @ts-check
import { Refetch } from "../lib/refetch.js";
import { reloadRegions } from "./region_reload.js";

/** The script of a command's page: its phase is pushed; log and results are reloaded when it changes. */

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
