// @ts-check
import { isPaused, reloadRegions } from "./region_reload.js";

/**
 * The page of one service: its own script, for what no event tells of. A minute of checks that is over, workers that were
 * heard: asked for once a minute while somebody looks at the page.
 */

const RELOAD_INTERVAL_MS = 60_000;
const REGIONS = new Set(["facts", "bound", "history", "workers"]);

setInterval(() => {
  if (document.hidden || isPaused()) return;
  reloadRegions(() => {}, (region) => REGIONS.has(region)).catch(() => {}); // the connection says what is wrong
}, RELOAD_INTERVAL_MS);
