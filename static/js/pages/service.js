// @ts-check
import { isPaused, reloadRegions } from "./region_reload.js";

/**
 * The script of a service's page: reloads once a minute, while the page is visible, what no event covers: the history of
 * checks, the workers.
 */

const RELOAD_INTERVAL_MS = 60_000;
const REGIONS = new Set(["facts", "bound", "history", "workers"]);

setInterval(() => {
  if (document.hidden || isPaused()) return;
  reloadRegions(() => {}, (region) => REGIONS.has(region)).catch(() => {}); // the connection says what is wrong
}, RELOAD_INTERVAL_MS);
