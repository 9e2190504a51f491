// @ts-check
import { tick } from "../ui/ages.js";
import { showConnection } from "../ui/connection_badge.js";
import { Banner } from "../ui/banner.js";
import { takeWhenHidden } from "./build_update.js";
import { serverNow } from "../lib/server_clock.js";
import { Delivery } from "./delivery.js";
import { HtmxBridge } from "./htmx_bridge.js";
import { fetchChecked } from "../lib/http.js";
import { shareName } from "../tabs/election.js";
import { Live } from "./live.js";
import { failedAt, WITHIN_MS } from "../telemetry/render_failures.js";
import { isOver } from "./policy.js";
import { describe } from "../ui/connection_text.js";
import { refetchRegions } from "../interaction/regions.js";
import { reportError } from "../telemetry/error_report.js";
import { Share } from "../tabs/shared_stream.js";
import { connectionStatus } from "./status.js";
import { setAway } from "../ui/tab_title.js";
import { clock, moment } from "../lib/time_text.js";
import { TokenSource } from "./stream_token.js";

/** The parts of the connection, put together for this page. */

const page = document.body.dataset;
const pollMs = Number(page.pollS) * 1_000;
const MEASURE_AFTER_MS = 1_000;
const DETAIL_AFTER_MS = 500;
const KEPT = 500;

/**
 * @param {(root: ParentNode) => void} prepare  runs on what the page gets before it is shown
 * @param {(message: string) => void} note
 */
export function connect(prepare, note) {
  if (!canFollow()) return; // the page keeps saying that it is not live, and its link to a refresh
  const bridge = new HtmxBridge(/** @type {any} */ (window).htmx);
  const watch = { note, poison: (/** @type {unknown} */ error) => poisoned(error) };
  const delivery = new Delivery(Number(page.cursor), bridge, () => refetchRegions(prepare), watch);
  const live = new Live(new TokenSource(csrf(), page.session ?? ""), delivery, page.session ?? "");
  const share = new Share(live, delivery, { streamOn: page.stream === "on", pollMs }, shareName(page.session ?? "", page.build ?? ""), note);
  const banner = new Banner(place("banner"), pollMs, () => share.reconnect());
  const heardBuild = onNewBuild(banner, note);
  const measure = measuring();
  const frame = (/** @type {import("./sse.js").Frame} */ one) => {
    const [now, at] = [serverNow(), performance.now()];
    measure((two) => two.heard(one, now, at));
    share.frame(one);
  };
  const heard = (/** @type {number | undefined} */ heartbeatMs) => share.heard(heartbeatMs);
  live.listen({ note, status: (told) => share.told(told), frame, heard, build: (build) => share.build(build), measure });
  showStatus(banner, note);
  const pause = () => togglePause(delivery, share, note);
  setTimeout(() => bringDetail({ reconnect: () => share.reconnect(), pause }, note), DETAIL_AFTER_MS);
  document.addEventListener("beacon:pause-toggle", pause);
  share.start(heardBuild);
}

/**
 * Before anybody needs it, because there may be no network then; a failure is tried again.
 * @param {import("../ui/connection_details.js").Actions} actions
 * @param {(message: string) => void} note
 */
function bringDetail(actions, note) {
  import("../ui/connection_details.js").then(({ bindDetail }) => {
    bindDetail(place("connection-detail"), pollMs, actions, { describe, clock, moment, tick, connectionStatus });
  }).catch((error) => {
    note(`connection details: ${error}`);
    setTimeout(() => bringDetail(actions, note), pollMs);
  });
}

/** Reading a stream needs its body in pieces; a browser without it reads plain pages. */
function canFollow() {
  return "ReadableStream" in window && "body" in Response.prototype && "any" in AbortSignal;
}

function csrf() {
  return /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";
}

/**
 * Some pages measure the connection while they own it, by a module that the first load does not wait for: what happens
 * until it has come is kept for it, within bounds.
 * @returns {import("./live.js").Hearer["measure"]}
 */
function measuring() {
  /** @typedef {(measure: import("../telemetry/connection_stats.js").Measure) => void} Tell */
  if (Math.random() >= Number(page.reportShare)) return () => {};
  /** @type {Tell[]} */
  const kept = [];
  /** @type {(tell: Tell) => void} */
  let measure = () => {};
  let asked = false;
  const begin = async () => {
    asked = connectionStatus.value.state !== "offline"; // otherwise the next thing that happens asks
    if (!asked) return;
    const { startReports } = await import(page.evidence ?? "");
    measure = startReports(csrf(), kept.splice(0));
  };
  measure = (tell) => {
    if (kept.length < KEPT) kept.push(tell);
    if (asked) return;
    asked = true;
    setTimeout(() => begin().catch(() => { measure = () => {}; }), MEASURE_AFTER_MS);
  };
  return (tell) => measure(tell);
}

/** @param {string} id */
function place(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/**
 * @param {Banner} banner
 * @param {(message: string) => void} note
 */
function showStatus(banner, note) {
  const badge = place("connection");
  connectionStatus.subscribe((now, before) => {
    document.documentElement.dataset.connection = now.state;
    document.documentElement.dataset.role = now.role;
    document.documentElement.toggleAttribute("data-paused", now.paused);
    showConnection(badge, now);
    setAway(isOver(now.reason) ? "signed out" : now.state === "offline" ? "offline" : "");
    if (now === before || now.state !== before.state || now.reason !== before.reason) note(`${now.state} (${now.reason})`);
    if (now.reason === "other-user" && before.reason !== "other-user") nameOtherUser(banner);
    document.dispatchEvent(new CustomEvent("beacon:connection", { detail: now }));
  });
}

/**
 * The only thing that a page asks for once its browser is somebody else's: whose.
 * @param {Banner} banner
 */
async function nameOtherUser(banner) {
  try {
    const response = await fetchChecked(location.pathname, { headers: { Accept: "text/html" } }, "text/html");
    const answer = new DOMParser().parseFromString(await response.text(), "text/html");
    banner.otherUser(answer.body.dataset.person ?? "");
  } catch {
    banner.otherUser("");
  }
}

/**
 * Holds what comes in, in this tab alone: the connection, the ages and what people must hear of at once go on.
 * @param {Delivery} delivery
 * @param {Share} share
 * @param {(message: string) => void} note
 */
function togglePause(delivery, share, note) {
  const paused = !connectionStatus.value.paused;
  note(paused ? "paused by the reader" : "resumed by the reader");
  connectionStatus.set({ paused });
  if (paused) {
    delivery.hold();
    return;
  }
  delivery.release().catch((error) => {
    note(`resuming: ${error}`);
    share.again(); // what was held is lost
  });
}

/**
 * @param {Banner} banner
 * @param {(message: string) => void} note
 * @returns {(build: string) => void}
 */
function onNewBuild(banner, note) {
  let known = page.build;
  return (build) => {
    if (build === known) return;
    known = build;
    note(`Beacon was updated to ${build}`);
    banner.updated();
    takeWhenHidden(build);
  };
}

/** @type {number[]} */
let failures = [];

/** @param {unknown} error */
function poisoned(error) {
  const { moments, broken } = failedAt(failures, Date.now());
  failures = moments;
  reportError(error, "stream");
  if (!broken) return;
  connectionStatus.set({ broken });
  setTimeout(() => {
    if (Date.now() - Math.max(...failures) >= WITHIN_MS) connectionStatus.set({ broken: false });
  }, WITHIN_MS);
}
