// @ts-check
import { FIRST_POLL_WITHIN_MS, isOver } from "../connection/policy.js";
import { ABSENT_MS, answered, ASLEEP_AFTER_MS, hasSlept, isGap, look, newWatch, nextTerm, PING_EVERY_MS } from "./election.js";
import { connectionStatus } from "../connection/status.js";
import { Tabs } from "./channel.js";

/**
 * One stream for all tabs of a browser: this tab either owns a wire and passes on what comes, or takes what the owner
 * passes on and fetches by its own cursor what it missed meanwhile. Tokens stay with the owner.
 *
 * @typedef {import("../connection/sse.js").Frame} Frame
 * @typedef {import("../connection/live.js").Live} Live
 * @typedef {import("../connection/delivery.js").Delivery} Delivery
 * @typedef {{ streamOn: boolean, pollMs: number }} Settings
 */

/** Frames that wait while this tab fetches what it missed; what is beyond it fetches too. */
const WAITING_BOUND = 500;
const LET_GO_AFTER_MS = 1_000;
/** The others have heard by then that there is no stream: whoever gets the lock must not ask for one. It polls at once,
 * and so do those of other browsers. */
const HAND_BACK_AFTER_MS = 250;

export class Share {
  #live;
  #delivery;
  #settings;
  #tabs;
  #note;
  /** @type {(build: string) => void} */
  #onBuild = () => {};
  #term = 0;
  #leads = false;
  #passedOn = 0;
  #watch = newWatch();
  /** @type {{ after: number, frame: Frame }[]} */
  #waiting = [];
  #catchingUp = false;
  #absentSince = 0;
  #tickedAt = Date.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #sleepTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pingTimer;

  /**
   * @param {Live} live
   * @param {Delivery} delivery
   * @param {Settings} settings
   * @param {string} name  what lock and channel are called
   * @param {(message: string) => void} note
   */
  constructor(live, delivery, settings, name, note) {
    this.#live = live;
    this.#delivery = delivery;
    this.#settings = settings;
    this.#note = note;
    const handlers = { lead: () => this.#lead(), follow: () => this.#follow(), message: (/** @type {any} */ one) => this.#hear(one) };
    this.#tabs = Tabs.possible ? new Tabs(name, handlers) : null;
  }

  /** @param {(build: string) => void} onBuild  hears which build the server runs, from whichever tab */
  start(onBuild) {
    this.#onBuild = onBuild;
    document.addEventListener("visibilitychange", () => this.#seen());
    document.addEventListener("freeze", () => this.#sleep("frozen"));
    document.addEventListener("resume", () => this.#resume());
    // A page that is left lets go of all it holds; one that comes back out of the browser's cache begins again.
    addEventListener("pagehide", () => this.#sleep("left"));
    addEventListener("pageshow", (event) => event.persisted && this.#rise());
    setInterval(() => this.#tick(), 1_000);
    this.#join();
    this.#seen();
  }

  /** A person asked for the stream: whoever owns the wire tries it. */
  reconnect() {
    if (this.#leads || !this.#tabs) this.#live.reconnect();
    else this.#tabs.post({ kind: "reconnect" });
  }

  /** Frames were taken and never shown: they have to come once more. */
  again() {
    if (this.#leads || !this.#tabs) this.#live.reconnect();
    else this.#catchUp();
  }

  /**
   * What this tab's own wire says.
   * @param {import("../connection/live.js").Told} told
   */
  told(told) {
    const { since, state, reason } = connectionStatus.value;
    const status = { ...told, since: told.state === state ? since : Date.now() };
    connectionStatus.set(status);
    if (!this.#leads) return;
    this.#say();
    const wasOn = reason !== "flag-off" && reason !== "starting";
    if (told.reason === "flag-off" && wasOn) setTimeout(() => this.#handBack(), HAND_BACK_AFTER_MS + Math.random() * FIRST_POLL_WITHIN_MS);
  }

  /**
   * Beacon was heard, by this tab's own wire.
   * @param {number} [heartbeatMs]
   */
  heard(heartbeatMs) {
    connectionStatus.heardAt = Date.now();
    if (heartbeatMs) connectionStatus.heartbeatMs = heartbeatMs;
    if (this.#leads && connectionStatus.value.state !== "connected") this.#say(); // with a stream, heartbeats do
  }

  /**
   * A frame from this tab's own wire, to be passed on.
   * @param {Frame} frame
   */
  frame(frame) {
    connectionStatus.lastEventAt = Date.now();
    if (frame.id !== null && frame.event === "reset") {
      this.#pass(frame);
    } else if (frame.id !== null && Number(frame.id) > this.#passedOn) {
      this.#pass(frame);
    } else if (frame.event === "heartbeat") {
      this.#say();
    }
  }

  /** @param {string} build */
  build(build) {
    this.#onBuild(build);
    if (this.#leads) this.#tabs?.post({ kind: "build", term: this.#term, build });
  }

  /** @param {Frame} frame */
  #pass(frame) {
    const after = this.#passedOn;
    this.#passedOn = Number(frame.id);
    if (this.#leads) this.#tabs?.post({ kind: "frame", term: this.#term, after, frame });
  }

  #join() {
    if (!this.#tabs) {
      connectionStatus.set({ role: "alone" });
      this.#passedOn = this.#delivery.received;
      this.#live.start(this.#settings.streamOn, this.#settings.pollMs);
      return;
    }
    connectionStatus.set({ role: "follower" });
    this.#tabs.join();
    this.#tabs.post({ kind: "ask" });
  }

  #lead() {
    this.#leads = true;
    this.#term = nextTerm(this.#term, Date.now());
    this.#passedOn = this.#delivery.received;
    this.#note("this tab holds the stream for all tabs of this browser");
    connectionStatus.set({ role: "leader" });
    if (isOver(connectionStatus.value.reason)) return;
    this.#live.start(this.#settings.streamOn, this.#settings.pollMs);
  }

  #follow() {
    this.#note("another tab has taken the stream over");
    this.#leads = false;
    this.#live.letGo();
    connectionStatus.set({ role: "follower", nextAttemptAt: null });
    this.#catchUp();
  }

  /** The flag went off: the lock was held for a stream. Whoever gets it polls for all, as if it had just been opened. */
  #handBack() {
    if (!this.#leads || connectionStatus.value.reason !== "flag-off") return;
    this.#note("the flag is off: this tab gives the lock back");
    this.#leads = false;
    this.#live.letGo();
    connectionStatus.set({ role: "follower" });
    this.#tabs?.handBack();
  }

  /** The whole of what a follower must know; sent on every change, every heartbeat, and when asked. */
  #say() {
    const { state, reason, failures, lateS, since, nextAttemptAt, errors } = connectionStatus.value;
    const status = { state, reason, failures, lateS, since, nextAttemptAt, errors };
    if (reason === "flag-off") this.#settings.streamOn = false;
    if (state === "connected") this.#settings.streamOn = true;
    this.#tabs?.post({ kind: "state", term: this.#term, cursor: this.#passedOn, lastEventAt: connectionStatus.lastEventAt, heardAt: connectionStatus.heardAt, heartbeatMs: connectionStatus.heartbeatMs, status });
  }

  /** @param {any} message */
  #hear(message) {
    if (this.#leads) this.#hearAsLeader(message);
    else if (!(message.term < this.#term)) this.#hearAsFollower(message); // a leader that was replaced speaks no more
  }

  /** @param {any} message */
  #hearAsLeader(message) {
    if (message.kind === "ask") this.#say();
    if (message.kind === "ping") {
      const leader = { visible: isVisible(), state: connectionStatus.value.state };
      this.#tabs?.post({ kind: "pong", term: this.#term, leader });
    }
    if (message.kind === "reconnect") this.#live.reconnect();
    if (message.kind === "woke") this.#live.wake();
  }

  /** @param {any} message */
  #hearAsFollower(message) {
    if (message.term) this.#term = message.term;
    if (message.kind === "pong") this.#judge(answered(this.#watch, message.leader));
    if (message.kind === "build") this.#onBuild(message.build);
    if (message.kind === "state") this.#mirror(message);
    if (message.kind === "frame") this.#takePassed(message);
  }

  /** @param {{ status: import("../connection/live.js").Told & { since: number }, cursor: number, lastEventAt: number | null, heardAt: number, heartbeatMs: number }} message */
  #mirror({ status, cursor, lastEventAt, heardAt, heartbeatMs }) {
    if (isOver(connectionStatus.value.reason)) return;
    if (status.reason === "flag-off") {
      this.#settings.streamOn = false;
      this.#live.forget(); // of a time when this tab owned the wire
    }
    if (status.state === "connected") this.#settings.streamOn = true;
    connectionStatus.lastEventAt = lastEventAt ?? connectionStatus.lastEventAt;
    connectionStatus.heardAt = Math.max(connectionStatus.heardAt, heardAt);
    connectionStatus.heartbeatMs = heartbeatMs;
    connectionStatus.set(status);
    if (isGap(this.#delivery.received, cursor)) this.#catchUp();
  }

  /** @param {{ after: number, frame: Frame }} passed */
  #takePassed(passed) {
    connectionStatus.lastEventAt = Date.now();
    const { after, frame } = passed;
    if (frame.event !== "reset") connectionStatus.heardAt = Date.now();
    const behind = frame.event !== "reset" && isGap(this.#delivery.received, after);
    if (this.#catchingUp || behind) {
      this.#waiting.push(passed);
      if (this.#waiting.length > WAITING_BOUND) this.#waiting.length = 0; // the next one shows the gap
      this.#catchUp();
      return;
    }
    this.#delivery.take(frame).catch((error) => {
      this.#note(`event ${frame.id}: ${error}`);
      this.#catchUp();
    });
  }

  async #catchUp() {
    if (this.#catchingUp || isOver(connectionStatus.value.reason)) return;
    this.#catchingUp = true;
    const worked = await this.#live.catchUp();
    this.#catchingUp = false;
    const waiting = this.#waiting.splice(0);
    if (worked) for (const passed of waiting) this.#takePassed(passed);
    else if (!this.#leads) setTimeout(() => this.#tabs?.joined && this.#catchUp(), this.#settings.pollMs);
  }

  /** Who looks asks after the leader; who is out of sight for long lets go. */
  #seen() {
    clearTimeout(this.#sleepTimer);
    clearInterval(this.#pingTimer);
    if (isVisible()) {
      this.#rise();
      this.#watch = newWatch(Date.now());
      this.#pingTimer = setInterval(() => this.#ping(), PING_EVERY_MS);
    } else {
      this.#absentSince = Date.now();
      this.#sleepTimer = setTimeout(() => this.#outOfSight(), this.#tabs ? ASLEEP_AFTER_MS : LET_GO_AFTER_MS);
    }
  }

  #outOfSight() {
    if (!this.#leads) this.#sleep("hidden");
  }

  #ping() {
    if (this.#leads || !this.#tabs?.joined || isOver(connectionStatus.value.reason)) return;
    const { steal, watch } = look(this.#watch, Date.now());
    this.#judge({ steal, watch });
    if (!steal) this.#tabs.post({ kind: "ping" });
  }

  /** @param {{ steal: boolean, watch: import("./election.js").Watch }} judged */
  #judge({ steal, watch }) {
    this.#watch = watch;
    if (!steal || !isVisible() || isOver(connectionStatus.value.reason)) return;
    this.#note("the tab that holds the stream does not answer or is out of sight: taking it over");
    this.#tabs?.steal();
  }

  /** @param {string} why */
  #sleep(why) {
    if (connectionStatus.value.role === "asleep") return;
    this.#note(`this tab lets go: ${why}`);
    this.#absentSince ||= Date.now();
    this.#leads = false;
    this.#tabs?.leave();
    this.#live.sleep();
    connectionStatus.set({ role: "asleep", nextAttemptAt: null });
  }

  /** Thawed: it takes part again, and if it is still out of sight, the time until it lets go begins anew. */
  #resume() {
    this.#rise();
    this.#seen();
  }

  /** Back in sight: what was missed is fetched at once, whoever holds the stream. */
  #rise() {
    const absent = this.#absentSince ? Date.now() - this.#absentSince : 0;
    this.#absentSince = 0;
    if (isOver(connectionStatus.value.reason)) return;
    if (connectionStatus.value.role === "asleep") {
      this.#join();
      if (this.#tabs) this.#catchUp();
    } else if (absent > ABSENT_MS) {
      this.#wake();
    }
  }

  /** A clock that jumps is a computer that slept: no other event tells of it. */
  #tick() {
    const now = Date.now();
    if (hasSlept(now - this.#tickedAt, isVisible())) this.#wake();
    this.#tickedAt = now;
  }

  #wake() {
    this.#note("awake again");
    this.#live.wake();
    if (this.#leads || !this.#tabs?.joined) return;
    this.#tabs.post({ kind: "woke" }); // the leader may be out of sight, where its own timers run late
    this.#catchUp();
  }
}

function isVisible() {
  return document.visibilityState === "visible";
}
