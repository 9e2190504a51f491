// @ts-check
import { localise, markAged, markUnheard, tick } from "./ui/ages.js";
import { trimLists } from "./ui/list_limit.js";
import { serverNow, startClock } from "./lib/server_clock.js";
import { startConnection } from "./connection/page_connection.js";
import { watchCost } from "./ui/self_stats.js";
import { isUnheard } from "./ui/freshness.js";
import { watchInterface } from "./interaction/page_interaction.js";
import { bringMessages } from "./ui/toast_queue.js";
import { startNotifications } from "./notifications/panel.js";
import { refetchFollower, watchReload } from "./interaction/regions.js";
import { connectionStatus } from "./connection/status.js";
import { updateStrip } from "./ui/attention_strip.js";
import { setUnheard } from "./ui/tab_title.js";

const page = document.body.dataset;
const KEYS_AFTER_MS = 500;

/** @param {string} message */
function note(message) {
  // eslint-disable-next-line no-console -- the connection's history is for whoever opens the console to look for it
  console.info("[SSE]", new Date().toISOString(), message);
}

function settle() {
  const heardAt = serverNow() - (Date.now() - connectionStatus.heardAt);
  const unheard = isSilent();
  markAged(Number(page.lateAfterS) * 1_000, Number(page.agedAfterS) * 1_000, heardAt);
  markUnheard(unheard ? heardAt : null);
  setUnheard(unheard);
  updateStrip(unheard ? heardAt : null);
  tick(document, unheard ? heardAt : serverNow());
}

/** Whether Beacon itself is silent; before the first word of the connection the page is as fresh as it was made. */
function isSilent() {
  const { heardAt, heartbeatMs, value: { state, role } } = connectionStatus;
  if (!document.documentElement.dataset.connection || role === "asleep") return false;
  return isUnheard({ state, heardAt, now: Date.now(), heartbeatMs, pollMs: Number(page.pollS) * 1_000 });
}

/** Fragments get their local times before they are swapped in: nobody sees UTC flash by. */
function watchSwaps() {
  document.addEventListener("htmx:before:swap", (event) => {
    for (const task of /** @type {CustomEvent} */ (event).detail.tasks) localise(task.fragment);
  });
  document.addEventListener("htmx:after:swap", () => {
    trimLists();
    settle();
  });
  document.addEventListener("htmx:after:settle", (event) => {
    const changed = /** @type {CustomEvent} */ (event).detail.task?.target;
    if (changed instanceof HTMLElement && changed.dataset.findings) refetchFollower(changed, localise).catch((error) => note(`region: ${error}`));
  });
  document.addEventListener("beacon:regions", settle);
}

/** No page waits for its keys: their module comes after the rest, or with the first key. What is pressed until then counts. */
function bringKeys() {
  /** @type {KeyboardEvent[]} */
  const pressed = [];
  let loading = false;
  /** @param {KeyboardEvent} [event] */
  const bring = (event) => {
    if (event) pressed.push(event);
    if (loading) return;
    loading = true;
    import("./interaction/keyboard.js").then(({ watchKeyboard }) => {
      removeEventListener("keydown", bring);
      watchKeyboard(pressed);
    }).catch((error) => {
      loading = false; // the next key tries again
      note(`keys: ${error}`);
    });
  };
  addEventListener("keydown", bring);
  setTimeout(bring, location.hash ? 0 : KEYS_AFTER_MS);
}

startClock(page.now ?? "");
localise(document);
settle();
setInterval(settle, 1_000);
watchSwaps();
watchInterface(localise);
startNotifications(localise);
bringMessages();
watchCost();
watchReload(localise);
bringKeys();
startConnection(localise, note);
