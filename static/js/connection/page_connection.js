// @ts-check
import { tick } from "../ui/ages.js";
import { showConnection } from "../ui/connection_badge.js";
import { Banner } from "../ui/banner.js";
import { serverNow } from "../lib/server_clock.js";
import { Delivery } from "./delivery.js";
import { HtmxBridge } from "./htmx_bridge.js";
import { fetchChecked } from "../lib/http.js";
import { channelName } from "../tabs/election.js";
import { LiveConnection } from "./live.js";
import { recordRenderFailure, FAILURE_WINDOW_MS } from "../telemetry/render_failures.js";
import { isSessionOver } from "./policy.js";
import { loadAtFirstUse } from "../interaction/first_use.js";
import { refetchRegions } from "../interaction/regions.js";
import { startClientReports } from "../telemetry/client_reports.js";
import { reportFailure } from "../telemetry/caught_error.js";
import { SharedStream } from "../tabs/shared_stream.js";
import { connectionStatus } from "./status.js";
import { setOffline } from "../ui/tab_title.js";
import { clock, formatMoment } from "../lib/time_text.js";
import { StreamTokenSource } from "./stream_token.js";

/** Puts the parts of the connection together for this page. */

const page = document.body.dataset;
const pollMs = Number(page.pollS) * 1_000;

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
  const withStats = Math.random() < Number(page.reportShare) ? startClientReports(csrfToken()) : () => {};
  const onFrame = (/** @type {import("./sse.js").Frame} */ frame) => {
    const [now, at] = [serverNow(), performance.now()];
    withStats((stats) => stats.onFrame(frame, now, at));
    sharedStream.frame(frame);
  };
  const beaconHeard = (/** @type {number | undefined} */ heartbeatMs) => sharedStream.beaconHeard(heartbeatMs);
  live.setListener({ log, status: (update) => sharedStream.onUpdate(update), frame: onFrame, beaconHeard, build: (build) => sharedStream.build(build), withStats });
  showStatus(banner, log);
  const pause = () => togglePause(delivery, sharedStream, log);
  loadAtFirstUse(() => loadDetails({ reconnect: () => sharedStream.reconnect(), pause }), (error) => log(`connection details: ${error}`));
  document.addEventListener("beacon:pause-toggle", pause);
  sharedStream.start(onBuild);
}

/** @param {import("../ui/connection_details.js").Actions} actions */
async function loadDetails(actions) {
  const { bindDetails } = await import("../ui/connection_details.js");
  bindDetails(requireElement("connection-detail"), pollMs, actions, { clock, formatMoment, tick, connectionStatus });
}

/** Reading a stream needs a response body in chunks; other browsers get plain pages. */
function canStream() {
  return "ReadableStream" in window && "body" in Response.prototype && "any" in AbortSignal;
}

function csrfToken() {
  return /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";
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
    import("./build_update.js").then(({ reloadWhenHidden }) => reloadWhenHidden(build, connectionStatus)).catch(log);
  };
}

/** @type {number[]} */
let failures = [];

/** @param {unknown} error */
function onRenderFailure(error) {
  const { moments, broken } = recordRenderFailure(failures, Date.now());
  failures = moments;
  reportFailure(error, "stream");
  if (!broken) return;
  connectionStatus.set({ broken });
  setTimeout(() => {
    if (Date.now() - Math.max(...failures) >= FAILURE_WINDOW_MS) connectionStatus.set({ broken: false });
  }, FAILURE_WINDOW_MS);
}
