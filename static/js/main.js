// @ts-check
import { localise, markAged, tick } from "./ages.js";
import { showConnection } from "./badge.js";
import { trimLists } from "./changes.js";
import { startClock } from "./clock.js";
import { Delivery } from "./delivery.js";
import { Feed } from "./feed.js";
import { Live } from "./live.js";
import { watchInterface } from "./interface.js";
import { refetchFollower, refetchRegions } from "./regions.js";
import { updateStrip } from "./strip.js";
import { setOffline } from "./title.js";
import { TokenSource } from "./token.js";

const page = document.body.dataset;

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

function watchConnection() {
  const badge = document.getElementById("connection");
  document.addEventListener("beacon:connection", (event) => {
    const status = /** @type {CustomEvent<import("./live.js").Status>} */ (event).detail;
    if (badge) showConnection(badge, status);
    setOffline(status.state === "offline");
  });
}

function connect() {
  const csrf = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";
  const feed = new Feed(/** @type {any} */ (window).htmx);
  const delivery = new Delivery(Number(page.cursor), feed, () => refetchRegions(localise), note);
  const live = new Live(new TokenSource(csrf), delivery, note);
  live.start(page.stream === "on", Number(page.pollS) * 1_000);
}

startClock(page.now ?? "");
localise(document);
settle();
setInterval(settle, 1_000);
watchSwaps();
watchInterface(localise);
watchConnection();
connect();
