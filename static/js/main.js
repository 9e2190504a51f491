// @ts-check
import { localise, markAged, markSilence, tick } from "./ui/ages.js";
import { trimLists } from "./ui/list_limit.js";
import { serverNow, startClock } from "./lib/server_clock.js";
import { startConnection } from "./connection/page_connection.js";
import { watchSelfStats } from "./ui/self_stats.js";
import { isSilent } from "./ui/freshness.js";
import { watchInteraction } from "./interaction/page_interaction.js";
import { loadToasts } from "./ui/toast_queue.js";
import { startNotifications } from "./notifications/panel.js";
import { refetchFollower, watchReload } from "./interaction/regions.js";
import { connectionStatus } from "./connection/status.js";
import { updateAttentionStrip } from "./ui/attention_strip.js";
import { setSilence } from "./ui/tab_title.js";

const page = document.body.dataset;
const KEYBOARD_AFTER_MS = 500;

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
  const heardAt = serverNow() - (Date.now() - connectionStatus.heardAt);
  const unheard = isBeaconSilent();
  markAged(Number(page.lateAfterS) * 1_000, Number(page.agedAfterS) * 1_000, heardAt);
  markSilence(unheard ? heardAt : null);
  setSilence(unheard);
  updateAttentionStrip(unheard ? heardAt : null);
  tick(document, unheard ? heardAt : serverNow());
}

/** Whether Beacon itself is silent; until the connection has started, the page is as fresh as when it was loaded. */
function isBeaconSilent() {
  const { heardAt, heartbeatMs, value: { state, role } } = connectionStatus;
  if (!document.documentElement.dataset.connection || role === "asleep") return false;
  return isSilent({ state, heardAt, now: Date.now(), heartbeatMs, pollMs: Number(page.pollS) * 1_000 });
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

/** Loads the keyboard module after the rest, or with the first key; keys pressed until then still count. */
function loadKeyboard() {
  /** @type {KeyboardEvent[]} */
  const pressed = [];
  let loading = false;
  /** @param {KeyboardEvent} [event] */
  const load = (event) => {
    if (event) pressed.push(event);
    if (loading) return;
    loading = true;
    import("./interaction/keyboard.js").then(({ watchKeyboard }) => {
      removeEventListener("keydown", load);
      watchKeyboard(pressed);
    }).catch((error) => {
      loading = false; // the next key retries
      logConnection(`keys: ${error}`);
    });
  };
  addEventListener("keydown", load);
  setTimeout(load, location.hash ? 0 : KEYBOARD_AFTER_MS);
}

startClock(page.now ?? "");
localise(document);
refreshAges(1_000);
watchSwaps();
watchInteraction(localise);
startNotifications(localise);
loadToasts();
watchSelfStats();
watchReload(localise);
loadKeyboard();
startConnection(localise, logConnection);
