// @ts-check
import { localise, markAged, tick } from "./ages.js";
import { trimLists } from "./changes.js";
import { startClock } from "./clock.js";
import { connect } from "./connect.js";
import { watchCost } from "./cost.js";
import { watchInterface } from "./interface.js";
import { startNotifications } from "./notifications.js";
import { refetchFollower, watchReload } from "./regions.js";
import { updateStrip } from "./strip.js";

const page = document.body.dataset;
const KEYS_AFTER_MS = 500;

/** @param {string} message */
function note(message) {
  // eslint-disable-next-line no-console -- the connection's history is for whoever opens the console to look for it
  console.info("[SSE]", new Date().toISOString(), message);
}

function settle() {
  markAged(Number(page.lateAfterS) * 1_000, Number(page.agedAfterS) * 1_000);
  updateStrip();
  tick(document);
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

/** No page waits for its keys: their module comes after the rest, or with the first key that is pressed. */
function bringKeys() {
  let brought = false;
  /** @param {KeyboardEvent} [first] */
  const bring = (first) => {
    if (brought) return;
    brought = true;
    import("./keyboard.js").then(({ watchKeyboard }) => watchKeyboard(first)).catch((error) => note(`keys: ${error}`));
  };
  addEventListener("keydown", bring, { once: true });
  setTimeout(bring, location.hash ? 0 : KEYS_AFTER_MS);
}

startClock(page.now ?? "");
localise(document);
settle();
setInterval(settle, 1_000);
watchSwaps();
watchInterface(localise);
startNotifications(localise);
watchCost();
watchReload(localise);
bringKeys();
connect(localise, note);
