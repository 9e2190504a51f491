// @ts-check
import { FIRST_POLL_SPREAD_MS, isSessionOver } from "../connection/policy.js";
import { MIN_ABSENCE_MS, onAnswer, HIDDEN_BEFORE_SLEEP_MS, computerSlept, isGap, checkLeader, startWatch, nextTerm, PING_INTERVAL_MS } from "./election.js";
import { connectionStatus } from "../connection/status.js";
import { TabChannel } from "./channel.js";

/**
 * One stream for all tabs of a browser: this tab is either the leader, which owns the stream and broadcasts its frames, or a
 * follower, which takes them and fetches by its own cursor what it missed. Tokens stay with the leader.
 *
 * @typedef {import("../connection/sse.js").Frame} Frame
 * @typedef {import("../connection/live.js").LiveConnection} LiveConnection
 * @typedef {import("../connection/delivery.js").Delivery} Delivery
 * @typedef {{ streamOn: boolean, pollMs: number }} Settings
 */

/** How many frames wait while this tab catches up; if there are more, it catches up again. */
const MAX_WAITING_FRAMES = 500;
const SLEEP_WITHOUT_TABS_AFTER_MS = 1_000;
/** By then the other tabs know that the flag is off, so the next leader polls at once instead of opening a stream. */
const HAND_BACK_DELAY_MS = 250;

export class SharedStream {
  #live;
  #delivery;
  #settings;
  #channel;
  #log;
  /** @type {(build: string) => void} */
  #onBuild = () => {};
  #term = 0;
  #isLeader = false;
  #lastBroadcastId = 0;
  #watch = startWatch();
  /** @type {{ after: number, frame: Frame }[]} */
  #waiting = [];
  #catchingUp = false;
  #hiddenSince = 0;
  #lastTickAt = Date.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #sleepTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pingTimer;

  /**
   * @param {LiveConnection} live
   * @param {Delivery} delivery
   * @param {Settings} settings
   * @param {string} name  of the lock and the channel
   * @param {(message: string) => void} log
   */
  constructor(live, delivery, settings, name, log) {
    this.#live = live;
    this.#delivery = delivery;
    this.#settings = settings;
    this.#log = log;
    const handlers = { onLead: () => this.#becomeLeader(), onFollow: () => this.#becomeFollower(), onMessage: (/** @type {any} */ one) => this.#onMessage(one) };
    this.#channel = TabChannel.isSupported ? new TabChannel(name, handlers) : null;
  }

  /** @param {(build: string) => void} onBuild  is called with the server's build, whichever tab learns of it */
  start(onBuild) {
    this.#onBuild = onBuild;
    document.addEventListener("visibilitychange", () => this.#onVisibilityChange());
    document.addEventListener("freeze", () => this.#sleep("frozen"));
    document.addEventListener("resume", () => this.#resume());
    // A page that is left releases everything; one that returns from the back-forward cache starts again.
    addEventListener("pagehide", () => this.#sleep("left"));
    addEventListener("pageshow", (event) => event.persisted && this.#wakeUp());
    setInterval(() => this.#detectSleep(), 1_000);
    this.#join();
    this.#onVisibilityChange();
  }

  /** The reader pressed Reconnect: the leader opens a new stream. */
  reconnect() {
    if (this.#isLeader || !this.#channel) this.#live.reconnect();
    else this.#channel.post({ kind: "reconnect" });
  }

  /** Frames were received and never shown, so they must be fetched again. */
  refetchMissed() {
    if (this.#isLeader || !this.#channel) this.#live.reconnect();
    else this.#catchUp();
  }

  /**
   * The state of this tab's own connection has changed.
   * @param {import("../connection/live.js").ConnectionUpdate} update
   */
  onUpdate(update) {
    const { since, state, reason } = connectionStatus.value;
    const status = { ...update, since: update.state === state ? since : Date.now() };
    connectionStatus.set(status);
    if (!this.#isLeader) return;
    this.#broadcastState();
    const wasOn = reason !== "flag-off" && reason !== "starting";
    if (update.reason === "flag-off" && wasOn) setTimeout(() => this.#handBack(), HAND_BACK_DELAY_MS + Math.random() * FIRST_POLL_SPREAD_MS);
  }

  /**
   * Beacon was heard over this tab's own connection.
   * @param {number} [heartbeatMs]
   */
  beaconHeard(heartbeatMs) {
    connectionStatus.heardAt = Date.now();
    if (heartbeatMs) connectionStatus.heartbeatMs = heartbeatMs;
    if (this.#isLeader && connectionStatus.value.state !== "connected") this.#broadcastState(); // when connected, heartbeats do this
  }

  /**
   * A frame from this tab's own connection, to be broadcast.
   * @param {Frame} frame
   */
  frame(frame) {
    connectionStatus.lastEventAt = Date.now();
    if (frame.id !== null && frame.event === "reset") {
      this.#broadcastFrame(frame);
    } else if (frame.id !== null && Number(frame.id) > this.#lastBroadcastId) {
      this.#broadcastFrame(frame);
    } else if (frame.event === "heartbeat") {
      this.#broadcastState();
    }
  }

  /** @param {string} build */
  build(build) {
    this.#onBuild(build);
    if (this.#isLeader) this.#channel?.post({ kind: "build", term: this.#term, build });
  }

  /** @param {Frame} frame */
  #broadcastFrame(frame) {
    const after = this.#lastBroadcastId;
    this.#lastBroadcastId = Number(frame.id);
    if (this.#isLeader) this.#channel?.post({ kind: "frame", term: this.#term, after, frame });
  }

  #join() {
    if (!this.#channel) {
      connectionStatus.set({ role: "alone" });
      this.#lastBroadcastId = this.#delivery.received;
      this.#live.start(this.#settings.streamOn, this.#settings.pollMs);
      return;
    }
    connectionStatus.set({ role: "follower" });
    this.#channel.open();
    this.#channel.post({ kind: "ask" });
  }

  #becomeLeader() {
    this.#isLeader = true;
    this.#term = nextTerm(this.#term, Date.now());
    this.#lastBroadcastId = this.#delivery.received;
    this.#log("this tab holds the stream for all tabs of this browser");
    connectionStatus.set({ role: "leader" });
    if (isSessionOver(connectionStatus.value.reason)) return;
    this.#live.start(this.#settings.streamOn, this.#settings.pollMs);
  }

  #becomeFollower() {
    this.#log("another tab has taken the stream over");
    this.#isLeader = false;
    this.#live.stop();
    connectionStatus.set({ role: "follower", nextAttemptAt: null });
    this.#catchUp();
  }

  /** The flag was turned off: gives the lock back. Whichever tab gets it polls for all, like a tab that has just opened. */
  #handBack() {
    if (!this.#isLeader || connectionStatus.value.reason !== "flag-off") return;
    this.#log("the flag is off: this tab gives the lock back");
    this.#isLeader = false;
    this.#live.stop();
    connectionStatus.set({ role: "follower" });
    this.#channel?.releaseLock();
  }

  /** Sends all that a follower must know: on every change, every heartbeat, and when asked. */
  #broadcastState() {
    const { state, reason, failures, lateS, since, nextAttemptAt, errors } = connectionStatus.value;
    const status = { state, reason, failures, lateS, since, nextAttemptAt, errors };
    if (reason === "flag-off") this.#settings.streamOn = false;
    if (state === "connected") this.#settings.streamOn = true;
    this.#channel?.post({ kind: "state", term: this.#term, cursor: this.#lastBroadcastId, lastEventAt: connectionStatus.lastEventAt, heardAt: connectionStatus.heardAt, heartbeatMs: connectionStatus.heartbeatMs, status });
  }

  /** @param {any} message */
  #onMessage(message) {
    if (this.#isLeader) this.#onMessageAsLeader(message);
    else if (!(message.term < this.#term)) this.#onMessageAsFollower(message); // ignore a leader that was replaced
  }

  /** @param {any} message */
  #onMessageAsLeader(message) {
    if (message.kind === "ask") this.#broadcastState();
    if (message.kind === "ping") {
      const leader = { visible: isVisible(), state: connectionStatus.value.state };
      this.#channel?.post({ kind: "pong", term: this.#term, leader });
    }
    if (message.kind === "reconnect") this.#live.reconnect();
    if (message.kind === "woke") this.#live.wake();
  }

  /** @param {any} message */
  #onMessageAsFollower(message) {
    if (message.term) this.#term = message.term;
    if (message.kind === "pong") this.#stealIfNeeded(onAnswer(this.#watch, message.leader));
    if (message.kind === "build") this.#onBuild(message.build);
    if (message.kind === "state") this.#applyState(message);
    if (message.kind === "frame") this.#onBroadcastFrame(message);
  }

  /** @param {{ status: import("../connection/live.js").ConnectionUpdate & { since: number }, cursor: number, lastEventAt: number | null, heardAt: number, heartbeatMs: number }} onMessage */
  #applyState({ status, cursor, lastEventAt, heardAt, heartbeatMs }) {
    if (isSessionOver(connectionStatus.value.reason)) return;
    if (status.reason === "flag-off") {
      this.#settings.streamOn = false;
      this.#live.forgetStream(); // from when this tab was the leader
    }
    if (status.state === "connected") this.#settings.streamOn = true;
    connectionStatus.lastEventAt = lastEventAt ?? connectionStatus.lastEventAt;
    const behind = isGap(this.#delivery.received, cursor);
    if (!behind && !this.#catchingUp) connectionStatus.heardAt = Math.max(connectionStatus.heardAt, heardAt); // old news is no news
    connectionStatus.heartbeatMs = heartbeatMs;
    connectionStatus.set(status);
    if (behind) this.#catchUp();
  }

  /** @param {{ after: number, frame: Frame }} passed */
  #onBroadcastFrame(passed) {
    connectionStatus.lastEventAt = Date.now();
    const { after, frame } = passed;
    const behind = frame.event !== "reset" && isGap(this.#delivery.received, after);
    if (this.#catchingUp || behind) {
      this.#waiting.push(passed);
      if (this.#waiting.length > MAX_WAITING_FRAMES) this.#waiting.length = 0; // the next frame reveals the gap
      this.#catchUp();
      return;
    }
    if (frame.event !== "reset") connectionStatus.heardAt = Date.now();
    this.#delivery.take(frame).catch((error) => {
      this.#log(`event ${frame.id}: ${error}`);
      this.#catchUp();
    });
  }

  async #catchUp() {
    if (this.#catchingUp || isSessionOver(connectionStatus.value.reason)) return;
    this.#catchingUp = true;
    const worked = await this.#live.catchUp();
    this.#catchingUp = false;
    const waiting = this.#waiting.splice(0);
    if (worked) for (const passed of waiting) this.#onBroadcastFrame(passed);
    else if (!this.#isLeader) setTimeout(() => this.#channel?.isOpen && this.#catchUp(), this.#settings.pollMs);
  }

  /** A visible tab checks the leader; one that is hidden for long goes to sleep. */
  #onVisibilityChange() {
    clearTimeout(this.#sleepTimer);
    clearInterval(this.#pingTimer);
    if (isVisible()) {
      this.#wakeUp();
      this.#watch = startWatch(Date.now());
      this.#pingTimer = setInterval(() => this.#ping(), PING_INTERVAL_MS);
    } else {
      this.#hiddenSince = Date.now();
      this.#sleepTimer = setTimeout(() => this.#sleepIfFollower(), this.#channel ? HIDDEN_BEFORE_SLEEP_MS : SLEEP_WITHOUT_TABS_AFTER_MS);
    }
  }

  #sleepIfFollower() {
    if (!this.#isLeader) this.#sleep("hidden");
  }

  #ping() {
    if (this.#isLeader || !this.#channel?.isOpen || isSessionOver(connectionStatus.value.reason)) return;
    const { steal, watch } = checkLeader(this.#watch, Date.now());
    this.#stealIfNeeded({ steal, watch });
    if (!steal) this.#channel.post({ kind: "ping" });
  }

  /** @param {{ steal: boolean, watch: import("./election.js").Watch }} verdict */
  #stealIfNeeded({ steal, watch }) {
    this.#watch = watch;
    if (!steal || !isVisible() || isSessionOver(connectionStatus.value.reason)) return;
    this.#log("the tab that holds the stream does not answer or is out of sight: taking it over");
    this.#channel?.stealLock();
  }

  /** @param {string} why */
  #sleep(why) {
    if (connectionStatus.value.role === "asleep") return;
    this.#log(`this tab lets go: ${why}`);
    this.#hiddenSince ||= Date.now();
    this.#isLeader = false;
    this.#channel?.close();
    this.#live.suspend();
    connectionStatus.set({ role: "asleep", nextAttemptAt: null });
  }

  /** The page was unfrozen: it takes part again; if it is still hidden, its time until sleep starts over. */
  #resume() {
    this.#wakeUp();
    this.#onVisibilityChange();
  }

  /** Visible again: fetches at once what it missed, whichever tab is the leader. */
  #wakeUp() {
    const absent = this.#hiddenSince ? Date.now() - this.#hiddenSince : 0;
    this.#hiddenSince = 0;
    if (isSessionOver(connectionStatus.value.reason)) return;
    if (connectionStatus.value.role === "asleep") {
      this.#join();
      if (this.#channel) this.#catchUp();
    } else if (absent > MIN_ABSENCE_MS) {
      this.#afterAbsence();
    }
  }

  /** A jump of the clock means that the computer slept; no browser event tells so. */
  #detectSleep() {
    const now = Date.now();
    if (computerSlept(now - this.#lastTickAt, isVisible())) this.#afterAbsence();
    this.#lastTickAt = now;
  }

  #afterAbsence() {
    this.#log("awake again");
    this.#live.wake();
    if (this.#isLeader || !this.#channel?.isOpen) return;
    this.#channel.post({ kind: "woke" }); // the leader may be hidden, and its timers throttled
    this.#catchUp();
  }
}

function isVisible() {
  return document.visibilityState === "visible";
}
