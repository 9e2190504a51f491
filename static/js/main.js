// @ts-check
import { localise, markAged, markSilence, tick } from "./ui/ages.js";
import { trimLists } from "./ui/list_limit.js";
import { serverNow, startClock } from "./lib/server_clock.js";
import { startConnection } from "./connection/page_connection.js";
import { watchSelfStats } from "./ui/self_stats.js";
import { isSilent, judgeUntil } from "./ui/freshness.js";
import { watchInteraction } from "./interaction/page_interaction.js";
import { loadAtFirstUse } from "./interaction/first_use.js";
import { loadToasts } from "./ui/toast_queue.js";
import { startNotifications } from "./notifications/panel_loader.js";
import { refetchFollower, watchReload } from "./interaction/regions.js";
import { connectionStatus } from "./connection/status.js";
import { updateAttentionStrip } from "./ui/attention_strip.js";
import { setSilence } from "./ui/tab_title.js";

const page = document.body.dataset;
const pollMs = Number(page.pollS) * 1_000;

let judged = { at: connectionStatus.heardAt, gapAt: 0 };

/** @param {string} message */
function logConnection(message) {
  // eslint-disable-next-line no-console -- the connection's history, for people who open the console
  console.info("[SSE]", new Date().toISOString(), message);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let nextRefresh;

/**
 * Once a second. After a swap the page waits a little longer for the next one, so that both are drawn together.
 * @param {number} nextMs
 */
function refreshAges(nextMs) {
  clearTimeout(nextRefresh);
  nextRefresh = setTimeout(refreshAges, nextMs, 1_000);
  const [now, offset] = [Date.now(), serverNow() - Date.now()];
  const heardAt = connectionStatus.heardAt + offset;
  const unheard = isBeaconSilent();
  judged = judgeUntil(judged, connectionStatus.heardAt, now, Math.max(connectionStatus.heartbeatMs, pollMs));
  markAged(Number(page.lateAfterS) * 1_000, Number(page.agedAfterS) * 1_000, judged.at + offset);
  markSilence(unheard ? heardAt : null);
  setSilence(unheard);
  updateAttentionStrip(unheard ? heardAt : null);
  tick(document, unheard ? heardAt : serverNow());
}

/** Whether Beacon itself is silent; until the connection has started, the page is as fresh as when it was loaded. */
function isBeaconSilent() {
  const { heardAt, heartbeatMs, value: { state, role } } = connectionStatus;
  if (!document.documentElement.dataset.connection || role === "asleep") return false;
  return isSilent({ state, heardAt, now: Date.now(), heartbeatMs, pollMs });
}

/** Fragments get local times before they are swapped in, so that UTC never flashes by. */
function watchSwaps() {
  document.addEventListener("htmx:before:swap", (event) => {
    for (const task of /** @type {CustomEvent} */ (event).detail.tasks) localise(task.fragment);
  });
  document.addEventListener("htmx:after:swap", () => {
    trimLists();
    refreshAges(1_300);
  });
  document.addEventListener("htmx:after:settle", (event) => {
    const changed = /** @type {CustomEvent} */ (event).detail.task?.target;
    if (changed instanceof HTMLElement && changed.dataset.findings) refetchFollower(changed, localise).catch((error) => logConnection(`region: ${error}`));
  });
  document.addEventListener("beacon:regions", () => refreshAges(1_000));
}

/** Keys and clicks from before the keyboard module is loaded still count. */
function loadKeyboard() {
  const opener = document.getElementById("help-open");
  /** @type {Event[]} */
  const earlier = [];
  const keep = (/** @type {Event} */ event) => void earlier.push(event);
  addEventListener("keydown", keep);
  opener?.addEventListener("click", keep);
  if (opener) opener.hidden = false; // without scripts there is nothing to help with
  const load = async () => {
    const { watchKeyboard } = await import("./interaction/keyboard.js");
    removeEventListener("keydown", keep);
    opener?.removeEventListener("click", keep);
    watchKeyboard(earlier);
  };
  loadAtFirstUse(load, (error) => logConnection(`keys: ${error}`));
}

startClock(page.now ?? "");
localise(document);
refreshAges(1_000);
watchSwaps();
watchInteraction(localise);
startNotifications(localise, logConnection);
loadAtFirstUse(loadToasts, (error) => logConnection(`toasts: ${error}`));
watchSelfStats();
watchReload(localise);
loadKeyboard();
startConnection(localise, logConnection);
