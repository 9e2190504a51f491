// @ts-check
/**
 * Decides what the connection does next. Pure: a model and an event go in, a new model and instructions come out;
 * live.js owns the connection and the timers.
 */

export const ATTEMPT_DELAYS_MS = [1_000, 2_000, 4_000, 8_000, 16_000];
export const BACKGROUND_ATTEMPT_MS = 30_000;
export const HELLO_TIMEOUT_MS = 10_000;
export const SILENCE_TIMEOUT_MS = 30_000;
/** How a stream ends that opened and delivered nothing. Two in a row mean that something in between buffers streams. */
export const SILENT_ENDINGS = ["no-hello", "silence"];
const SILENT_STREAMS_BEFORE_POLLING = 2;
/** This many goodbyes without an event or heartbeat in between are a loop. */
const BYES_BEFORE_FAILURE = 3;
const DEFAULT_RETRY_MS = 1_000;
/** A page that waits longer than this for its next attempt polls meanwhile. */
const LONGEST_ATTEMPT_WAIT_MS = 20_000;
/** A flag change reaches thousands of pages at once, so their first polls and streams are spread over this time. */
export const FIRST_POLL_SPREAD_MS = 3_000;
export const REOPEN_SPREAD_MS = 500;

/**
 * @typedef {"connected" | "reconnecting" | "polling" | "offline"} State
 *
 * @typedef {object} Model
 * @property {State} state
 * @property {string} reason  a key of the sentences in connection_text.js
 * @property {number} failures  since the last event or heartbeat; neither opening nor `hello` proves anything
 * @property {number} byes
 * @property {number} silentStreams  consecutive streams that delivered nothing; only a prompt heartbeat resets it
 * @property {number} lateS  how many seconds late the stream is
 * @property {boolean} pollFailed  the newest poll failed
 * @property {boolean} streamAllowed  whether the flag is on, as the server last said
 * @property {number} pollMs
 *
 * @typedef {{ kind: "start", streamOn: boolean, online: boolean, pollMs: number }
 *   | { kind: "hello" } | { kind: "proof" } | { kind: "heartbeat", degraded: boolean, lateS?: number } | { kind: "late", lateS: number }
 *   | { kind: "failed", reason: string, retryAfterMs?: number | undefined }
 *   | { kind: "flag-off" } | { kind: "bye", reason: string, retryMs?: number | null }
 *   | { kind: "polled", stream: string } | { kind: "poll-failed", retryAfterMs?: number | undefined }
 *   | { kind: "no-network" } | { kind: "network", barred?: boolean } | { kind: "woke", overdue?: boolean, barred?: boolean } | { kind: "asked" }
 *   | { kind: "signed-out" } | { kind: "other-user" }} ConnectionEvent
 *
 * @typedef {object} Decision  a number: do it in this many milliseconds; null: cancel it; absent: leave it as it is
 * @property {Model} model
 * @property {number | null} [open]
 * @property {number | null} [poll]
 * @property {boolean} [close]  close the stream and abort a running poll
 */

/**
 * @param {Model} model
 * @param {ConnectionEvent} event
 * @param {number} random  from 0 to 1: spreads what many pages would do at once
 * @returns {Decision}
 */
export function decide(model, event, random) {
  if (isSessionOver(model.reason)) return { model }; // only a new page gets out of this
  const decision = handleEvent(model, event, random);
  return decision.model.state === "connected" ? decision : { ...decision, model: { ...decision.model, lateS: 0 } };
}

/**
 * @param {Model} model
 * @param {ConnectionEvent} event
 * @param {number} random
 * @returns {Decision}
 */
function handleEvent(model, event, random) {
  switch (event.kind) {
    case "start": return onStart(event, random);
    case "hello": return isBuffered(model) ? { model } : becomeConnected(model, "live");
    case "proof": return { model: { ...model, failures: 0, byes: 0 } };
    case "heartbeat": return onHeartbeat(model, event);
    case "late": return model.state === "connected" ? applyLateness(model, model.reason === "degraded", event.lateS) : { model };
    case "failed": return onFailure(model, event, random);
    case "flag-off": return pollInstead(model, addJitter(model.pollMs, random));
    case "bye": return onBye(model, event, random);
    case "polled": return onPolled(model, event.stream, random);
    case "poll-failed": return onPollFailed(model, event.retryAfterMs ?? 0, random);
    case "no-network": return { model: { ...model, state: "offline", reason: "no-network" }, open: null, poll: null, close: true };
    case "network": return onNetwork(model, event);
    case "woke": return onWake(model, event);
    case "asked": return onReconnectRequest(model);
    default: return endSession(model, event.kind);
  }
}

/**
 * Whether this page may show nothing new: its login has ended, or somebody else has logged in with this browser.
 * @param {string} reason
 */
export function isSessionOver(reason) {
  return reason === "signed-out" || reason === "other-user";
}

/** @returns {Model} */
export function initialModel() {
  return { state: "reconnecting", reason: "starting", failures: 0, byes: 0, silentStreams: 0, lateS: 0, pollFailed: false, streamAllowed: true, pollMs: 5_000 };
}

/** @param {Model} model */
function isBuffered({ silentStreams }) {
  return silentStreams >= SILENT_STREAMS_BEFORE_POLLING;
}

/**
 * @param {Model} model
 * @param {string} reason
 * @returns {Decision}
 */
function becomeConnected(model, reason) {
  return { model: { ...model, state: "connected", reason, pollFailed: false, lateS: 0 }, poll: null };
}

/**
 * A buffered stream is trusted again when a heartbeat comes in time; until then the page polls beside it.
 * @param {Model} before
 * @param {Extract<ConnectionEvent, { kind: "heartbeat" }>} event
 * @returns {Decision}
 */
function onHeartbeat(before, { degraded, lateS = 0 }) {
  const model = { ...before, failures: 0, byes: 0 };
  if (lateS > 0 && model.state !== "connected") return { model };
  return applyLateness(lateS > 0 ? model : { ...model, silentStreams: 0 }, degraded, lateS);
}

/**
 * While the stream is late the page polls too; an event that comes both ways is shown once.
 * @param {Model} model
 * @param {boolean} degraded
 * @param {number} lateS
 * @returns {Decision}
 */
function applyLateness(model, degraded, lateS) {
  if (lateS === 0) return becomeConnected(model, degraded ? "degraded" : "live");
  const next = { ...model, lateS, reason: degraded ? "degraded" : "late" };
  return model.lateS > 0 ? { model: next } : { model: next, poll: 0 };
}

/**
 * @param {number} ms
 * @param {number} random
 */
export function addJitter(ms, random, share = 0.2) {
  return Math.round(ms * (1 + share * (2 * random - 1)));
}

/**
 * @param {Extract<ConnectionEvent, { kind: "start" }>} event
 * @param {number} random
 * @returns {Decision}
 */
function onStart(event, random) {
  const model = { ...initialModel(), streamAllowed: event.streamOn, pollMs: event.pollMs };
  if (!event.online) return decide(model, { kind: "no-network" }, random);
  return event.streamOn ? { model, open: 0, poll: null } : pollInstead(model, 0);
}

/**
 * Five attempts, each with one poll so that nothing goes stale; then polling, or offline if polls fail too.
 * @param {Model} before
 * @param {Extract<ConnectionEvent, { kind: "failed" }>} event
 * @param {number} random
 * @returns {Decision}
 */
function onFailure(before, event, random) {
  const model = { ...before, failures: before.failures + 1, silentStreams: SILENT_ENDINGS.includes(event.reason) ? before.silentStreams + 1 : 0 };
  const delay = ATTEMPT_DELAYS_MS[model.failures - 1] ?? BACKGROUND_ATTEMPT_MS;
  const open = Math.max(Math.min(addJitter(delay, random), BACKGROUND_ATTEMPT_MS), event.retryAfterMs ?? 0);
  if (!isBuffered(model) && model.failures <= ATTEMPT_DELAYS_MS.length && open <= LONGEST_ATTEMPT_WAIT_MS) {
    return { model: { ...model, state: "reconnecting", reason: event.reason }, open, poll: 0 };
  }
  const reason = isBuffered(model) || model.failures <= ATTEMPT_DELAYS_MS.length ? event.reason : "exhausted";
  return { model: { ...model, state: model.pollFailed ? "offline" : "polling", reason }, open, poll: 0 };
}

/**
 * The flag is off: poll. `onPolled` opens a stream when it is on again.
 * @param {Model} model
 * @param {number} poll
 * @returns {Decision}
 */
function pollInstead(model, poll) {
  const next = { ...model, failures: 0, byes: 0, silentStreams: 0, streamAllowed: false, reason: "flag-off" };
  return { model: { ...next, state: model.pollFailed ? "offline" : "polling" }, open: null, poll, close: true };
}

/**
 * @param {Model} model
 * @param {Extract<ConnectionEvent, { kind: "bye" }>} event
 * @param {number} random
 * @returns {Decision}
 */
function onBye(model, { reason, retryMs }, random) {
  if (reason === "flag-off") return pollInstead(model, Math.round(random * Math.min(model.pollMs, FIRST_POLL_SPREAD_MS)));
  const byes = model.byes + 1;
  if (byes > BYES_BEFORE_FAILURE) return onFailure(model, { kind: "failed", reason: "lost" }, random);
  const open = reason === "revoked" ? 0 : addJitter(retryMs ?? DEFAULT_RETRY_MS, random);
  return { model: { ...model, byes, state: "reconnecting", reason }, open };
}

/**
 * @param {Model} before
 * @param {string} stream  `on` or `off` for this user
 * @param {number} random
 * @returns {Decision}
 */
function onPolled(before, stream, random) {
  if (before.state === "connected" && !before.lateS) return { model: before }; // it was already running when the stream came back
  const model = { ...before, pollFailed: false, streamAllowed: stream === "on" };
  const again = nextPollDelay(model, random);
  if (stream !== "on") return pollInstead(model, again);
  if (model.state === "connected") return { model, poll: again };
  if (model.reason === "flag-off") {
    return { model: { ...model, state: "reconnecting", reason: "switched-on" }, open: Math.round(random * REOPEN_SPREAD_MS), poll: null };
  }
  if (model.state === "reconnecting") return { model };
  const recovered = before.pollFailed ? { open: 0 } : {}; // the server is back, so try the stream
  return { model: { ...model, state: "polling" }, poll: again, ...recovered };
}

/**
 * @param {Model} before
 * @param {number} retryAfterMs
 * @param {number} random
 * @returns {Decision}
 */
function onPollFailed(before, retryAfterMs, random) {
  if (before.state === "connected" && !before.lateS) return { model: before };
  const poll = Math.max(nextPollDelay(before, random), retryAfterMs);
  if (before.state === "connected") return { model: before, poll };
  const model = { ...before, pollFailed: true, silentStreams: 0 }; // the stream is not the only thing that fails
  if (model.state === "reconnecting") return { model };
  return { model: { ...model, state: "offline" }, poll };
}

/**
 * Jitter adds at most a second, so that a server that is back is found within the interval plus two seconds.
 * @param {Model} model
 * @param {number} random
 */
function nextPollDelay({ pollMs }, random) {
  return Math.min(addJitter(pollMs, random), pollMs + 1_000);
}

/**
 * Does at once what waits for a timer, unless the server asked for the wait.
 * @param {Model} before
 * @param {Extract<ConnectionEvent, { kind: "network" }>} event
 * @returns {Decision}
 */
function onNetwork(before, { barred }) {
  if (before.state === "connected" || (barred && before.reason !== "no-network")) return { model: before };
  const model = { ...before, failures: 0, byes: 0, silentStreams: 0 };
  if (!model.streamAllowed) return { model: { ...model, reason: "flag-off" }, poll: 0 };
  return { model: { ...model, state: "reconnecting", reason: "network" }, open: 0, poll: null };
}

/**
 * The computer slept, or the page was hidden: does at once what waits for a timer, unless the server asked for the wait.
 * A stream with a missing heartbeat (`overdue`) is replaced: it may have died unnoticed.
 * @param {Model} model
 * @param {Extract<ConnectionEvent, { kind: "woke" }>} event
 * @returns {Decision}
 */
function onWake(model, { overdue, barred }) {
  if (model.reason === "no-network") return { model };
  if (model.state !== "connected") return model.streamAllowed && !barred ? { model, open: 0, poll: 0 } : { model, poll: 0 };
  if (!overdue) return { model };
  return { model: { ...model, state: "reconnecting", reason: "woke" }, open: 0, poll: 0, close: true };
}

/**
 * The reader asked for it, so at once. The failures stay: one more failure is not followed by five attempts. This stream is
 * trusted when it opens, even if earlier ones were buffered; if it stays silent too, the page polls again.
 * @param {Model} model
 * @returns {Decision}
 */
function onReconnectRequest(model) {
  if (!model.streamAllowed) return { model, poll: 0 };
  const silentStreams = Math.min(model.silentStreams, SILENT_STREAMS_BEFORE_POLLING - 1);
  return { model: { ...model, silentStreams, state: "reconnecting", reason: "asked" }, open: 0, poll: null, close: true };
}

/**
 * @param {Model} model
 * @param {"signed-out" | "other-user"} reason
 * @returns {Decision}
 */
function endSession(model, reason) {
  return { model: { ...model, state: "offline", reason }, open: null, poll: null, close: true };
}
