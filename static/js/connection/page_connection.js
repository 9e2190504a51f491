// @ts-check
import { tick } from "../ui/ages.js";
import { showConnection } from "../ui/connection_badge.js";
import { Banner } from "../ui/banner.js";
import { reloadWhenHidden } from "./build_update.js";
import { serverNow } from "../lib/server_clock.js";
import { Delivery } from "./delivery.js";
import { HtmxBridge } from "./htmx_bridge.js";
import { fetchChecked } from "../lib/http.js";
import { channelName } from "../tabs/election.js";
import { LiveConnection } from "./live.js";
import { recordRenderFailure, FAILURE_WINDOW_MS } from "../telemetry/render_failures.js";
import { isSessionOver } from "./policy.js";
import { describeConnection } from "../ui/connection_text.js";
import { refetchRegions } from "../interaction/regions.js";
import { reportError } from "../telemetry/error_report.js";
import { SharedStream } from "../tabs/shared_stream.js";
import { connectionStatus } from "./status.js";
import { setOffline } from "../ui/tab_title.js";
import { clock, formatMoment } from "../lib/time_text.js";
import { StreamTokenSource } from "./stream_token.js";

/** Puts the parts of the connection together for this page. */

const page = document.body.dataset;
const pollMs = Number(page.pollS) * 1_000;
const STATS_AFTER_MS = 1_000;
const DETAILS_AFTER_MS = 500;
const MAX_PENDING_STATS = 500;

/**
 * @param {(root: ParentNode) => void} prepare  runs on new content before it is shown
 * @param {(message: string) => void} log
 */
export function startConnection(prepare, log) {
  if (!canStream()) return; // the page keeps its "Not live" badge and its link to refresh
  const bridge = new HtmxBridge(/** @type {any} */ (window).htmx);
  const observer = { log, renderFailed: (/** @type {unknown} */ error) => onRenderFailure(error) };
  const delivery = new Delivery(Number(page.cursor), bridge, () => refetchRegions(prepare), observer);
  const live = new LiveConnection(new StreamTokenSource(csrfToken(), page.session ?? ""), delivery, page.session ?? "");
  const sharedStream = new SharedStream(live, delivery, { streamOn: page.stream === "on", pollMs }, channelName(page.session ?? "", page.build ?? ""), log);
  const banner = new Banner(requireElement("banner"), pollMs, () => sharedStream.reconnect());
  const onBuild = buildListener(banner, log);
  const withStats = startStats();
  const onFrame = (/** @type {import("./sse.js").Frame} */ frame) => {
    const [now, at] = [serverNow(), performance.now()];
    withStats((stats) => stats.onFrame(frame, now, at));
    sharedStream.frame(frame);
  };
  const beaconHeard = (/** @type {number | undefined} */ heartbeatMs) => sharedStream.beaconHeard(heartbeatMs);
  live.setListener({ log, status: (update) => sharedStream.onUpdate(update), frame: onFrame, beaconHeard, build: (build) => sharedStream.build(build), withStats });
  showStatus(banner, log);
  const pause = () => togglePause(delivery, sharedStream, log);
  setTimeout(() => loadDetails({ reconnect: () => sharedStream.reconnect(), pause }, log), DETAILS_AFTER_MS);
  document.addEventListener("beacon:pause-toggle", pause);
  sharedStream.start(onBuild);
}

/**
 * Loaded early, because there may be no network when it is needed; a failure is retried.
 * @param {import("../ui/connection_details.js").Actions} actions
 * @param {(message: string) => void} log
 */
function loadDetails(actions, log) {
  import("../ui/connection_details.js").then(({ bindDetails }) => {
    bindDetails(requireElement("connection-detail"), pollMs, actions, { describeConnection, clock, formatMoment, tick, connectionStatus });
  }).catch((error) => {
    log(`connection details: ${error}`);
    setTimeout(() => loadDetails(actions, log), pollMs);
  });
}

/** Reading a stream needs a response body in chunks; other browsers get plain pages. */
function canStream() {
  return "ReadableStream" in window && "body" in Response.prototype && "any" in AbortSignal;
}

function csrfToken() {
  return /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";
}

/**
 * A share of the pages keeps statistics of its connection, in a module that the first load does not wait for. What happens
 * until it has loaded is kept, up to a limit.
 * @returns {import("./live.js").Listener["withStats"]}
 */
function startStats() {
  /** @typedef {(measure: import("../telemetry/connection_stats.js").ConnectionStats) => void} Record */
  if (Math.random() >= Number(page.reportShare)) return () => {};
  /** @type {Record[]} */
  const pending = [];
  /** @type {(tell: Record) => void} */
  let withStats = () => {};
  let asked = false;
  const begin = async () => {
    asked = connectionStatus.value.state !== "offline"; // if offline, the next event tries again
    if (!asked) return;
    const { startClientReports } = await import("../telemetry/client_reports.js");
    withStats = startClientReports(csrfToken(), pending.splice(0));
  };
  withStats = (record) => {
    if (pending.length < MAX_PENDING_STATS) pending.push(record);
    if (asked) return;
    asked = true;
    setTimeout(() => begin().catch(() => { withStats = () => {}; }), STATS_AFTER_MS);
  };
  return (record) => withStats(record);
}

/** @param {string} id */
function requireElement(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/**
 * @param {Banner} banner
 * @param {(message: string) => void} log
 */
function showStatus(banner, log) {
  const badge = requireElement("connection");
  connectionStatus.subscribe((now, before) => {
    document.documentElement.dataset.connection = now.state;
    document.documentElement.dataset.role = now.role;
    document.documentElement.toggleAttribute("data-paused", now.paused);
    showConnection(badge, now);
    setOffline(isSessionOver(now.reason) ? "signed out" : now.state === "offline" ? "offline" : "");
    if (now === before || now.state !== before.state || now.reason !== before.reason) log(`${now.state} (${now.reason})`);
    if (isSessionOver(now.reason) && !isSessionOver(before.reason)) watchEnd(banner, log);
    document.dispatchEvent(new CustomEvent("beacon:connection", { detail: now }));
  });
}

/**
 * @param {Banner} banner
 * @param {(message: string) => void} log
 */
function watchEnd(banner, log) {
  import("./session_end.js").then(({ watchSessionEnd }) => watchSessionEnd({ connectionStatus, fetchChecked, banner })).catch(log);
}

/**
 * Pauses this tab alone. The connection, the ages and operators' messages continue.
 * @param {Delivery} delivery
 * @param {SharedStream} sharedStream
 * @param {(message: string) => void} log
 */
function togglePause(delivery, sharedStream, log) {
  const paused = !connectionStatus.value.paused;
  log(paused ? "paused by the reader" : "resumed by the reader");
  connectionStatus.set({ paused });
  if (paused) {
    delivery.hold();
    return;
  }
  delivery.release().catch((error) => {
    log(`resuming: ${error}`);
    sharedStream.refetchMissed(); // the held frames are lost
  });
}

/**
 * @param {Banner} banner
 * @param {(message: string) => void} log
 * @returns {(build: string) => void}
 */
function buildListener(banner, log) {
  let known = page.build;
  return (build) => {
    if (build === known) return;
    known = build;
    log(`Beacon was updated to ${build}`);
    banner.updated();
    reloadWhenHidden(build);
  };
}

/** @type {number[]} */
let failures = [];

/** @param {unknown} error */
function onRenderFailure(error) {
  const { moments, broken } = recordRenderFailure(failures, Date.now());
  failures = moments;
  reportError(error, "stream");
  if (!broken) return;
  connectionStatus.set({ broken });
  setTimeout(() => {
    if (Date.now() - Math.max(...failures) >= FAILURE_WINDOW_MS) connectionStatus.set({ broken: false });
  }, FAILURE_WINDOW_MS);
}
