// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionStats, MAX_SAMPLES } from "../../../static/js/telemetry/connection_stats.js";
import { decide, initialModel } from "../../../static/js/connection/policy.js";

/**
 * @typedef {import("../../../static/js/connection/policy.js").ConnectionEvent} ConnectionEvent
 * @typedef {import("../../../static/js/telemetry/connection_stats.js").Report} Report
 */

/** @type {ConnectionEvent} */
const LOST = { kind: "failed", reason: "lost" };
/** @type {ConnectionEvent} */
const HELLO = { kind: "hello" };
/** @type {ConnectionEvent} */
const HEARTBEAT = { kind: "heartbeat", degraded: false };
/** @type {ConnectionEvent} */
const POLLED = { kind: "polled", stream: "on" };
/** @type {ConnectionEvent} */
const POLLED_OFF = { kind: "polled", stream: "off" };
/** @type {ConnectionEvent} */
const POLL_FAILED = { kind: "poll-failed" };
const EPOCH = Date.parse("2026-11-21T12:00:00.000Z");

/** A page's connection as the policy moves it, measured; a second goes by between any two things. */
class Page {
  measure = new ConnectionStats(() => 0.5);
  model = initialModel();
  at = 0.25;
  /** By how much the page thinks that the server's clock is behind. */
  skew = 0;

  constructor(streamOn = true) {
    this.meets({ kind: "start", streamOn, online: true, pollMs: 5_000 });
  }

  /** @param {ConnectionEvent[]} happenings */
  meets(...happenings) {
    for (const event of happenings) {
      this.at += 1_000;
      const before = this.model;
      this.model = decide(before, event, 0.5).model;
      this.measure.onConnectionEvent(event, before, this.model, this.at);
    }
    return this;
  }

  /** @param {ConnectionEvent[]} happenings */
  opens(...happenings) {
    this.measure.streamOpening(this.at);
    return this.meets(...happenings);
  }

  /** The stream says hello with the log at `head`. */
  helloReceived(head = 100) {
    this.opens(HELLO);
    return this.hears("hello", JSON.stringify({ head }));
  }

  /** @param {string} event @param {string} data @param {number | null} [id] */
  hears(event, data, id = null) {
    const frame = { event, data, id: id === null ? null : String(id), retry: null };
    this.measure.onFrame(frame, EPOCH + this.at - this.skew, this.at);
    return this;
  }

  /** The server's time so many milliseconds ago. @param {number} lagMs */
  ago(lagMs) {
    return new Date(EPOCH + Math.floor(this.at) - lagMs).toISOString();
  }

  /** @param {number} id @param {number} lagMs */
  event(id, lagMs) {
    return this.hears("", `<tr data-id="${id}"> <td class="at"><time datetime="${this.ago(lagMs)}">12</time></td>`, id);
  }

  /** @param {number} head @param {number} [lateMs] */
  beats(head, lateMs = 0) {
    return this.hears("heartbeat", JSON.stringify({ head, timestamp: this.ago(lateMs) }));
  }

  /** @returns {Partial<Report>}  what is not zero or empty */
  told() {
    const found = Object.entries(this.measure.takeReport() ?? {});
    return Object.fromEntries(found.filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value !== 0)));
  }
}

test("an attempt that delivers something is counted once, with its time to hello", () => {
  const page = new Page().helloReceived().meets(HEARTBEAT, HEARTBEAT);
  assert.deepEqual(page.told(), { cohort: "streaming", attempts: 1, helloMs: [1_000] });
  assert.equal(page.meets(HEARTBEAT).measure.takeReport(), null);
});

test("a stream that ends after hello, before it delivered anything, has failed", () => {
  const page = new Page().opens(HELLO, LOST).opens(LOST);
  assert.deepEqual(page.told(), { cohort: "streaming", attempts: 2, failures: 2, helloMs: [1_000] });
});

test("a working stream that is lost, or says goodbye, is a reconnect and not a failure", () => {
  for (const end of [LOST, .../** @type {ConnectionEvent[]} */ (["drain", "lifetime", "slow"].map((reason) => ({ kind: "bye", reason })))]) {
    const page = new Page().helloReceived().meets(HEARTBEAT, end).helloReceived().meets(HEARTBEAT);
    assert.deepEqual(page.told(), { cohort: "streaming", attempts: 2, reconnects: 1, helloMs: [1_000, 1_000] });
  }
});

test("a goodbye right after hello is no failure, but endless goodbyes are one", () => {
  /** @type {ConnectionEvent} */
  const bye = { kind: "bye", reason: "drain" };
  const page = new Page().opens(HELLO, bye);
  assert.deepEqual(page.told(), { cohort: "streaming", attempts: 1, reconnects: 1, helloMs: [1_000] });
  assert.equal(page.opens(HELLO, bye).opens(HELLO, bye).opens(HELLO, bye).told().failures, 1);
});

test("five failures and one more are one fallback, however long the page then polls", () => {
  const page = new Page();
  for (let n = 0; n < 6; n += 1) page.opens(LOST, POLLED);
  assert.deepEqual(page.told(), { cohort: "streaming", attempts: 6, failures: 6, fallbacks: 1 });
  assert.deepEqual(page.meets(POLLED, POLLED).opens(LOST, POLLED).told(), { cohort: "streaming", attempts: 1, failures: 1 });
});

test("a flag that is off is no failure, whether a refusal, a goodbye or a poll says so", () => {
  for (const end of /** @type {ConnectionEvent[]} */ ([{ kind: "flag-off" }, { kind: "bye", reason: "flag-off" }, POLLED_OFF])) {
    const told = new Page().opens(end).told();
    assert.deepEqual([told.failures, told.fallbacks, told.reconnects], [undefined, undefined, undefined]);
  }
});

test("a missing network, a Reconnect and a tab that stops are no failures", () => {
  for (const end of /** @type {ConnectionEvent[]} */ ([{ kind: "no-network" }, { kind: "asked" }, { kind: "signed-out" }, { kind: "other-user" }])) {
    assert.deepEqual(new Page().opens(end).told(), {});
  }
  const page = new Page().opens();
  page.measure.stop();
  assert.deepEqual(page.told(), {});
});

test("a tab that stops its stream and starts it again has not reconnected", () => {
  const page = new Page().helloReceived().meets(HEARTBEAT);
  page.measure.stop();
  page.meets({ kind: "start", streamOn: true, online: true, pollMs: 5_000 }).helloReceived().meets(HEARTBEAT);
  assert.deepEqual(page.told(), { cohort: "streaming", attempts: 2, helloMs: [1_000, 1_000] });
});

test("lag is measured for events written while the stream was open, not for missed ones", () => {
  const page = new Page().helloReceived(100).event(99, 3_600_000).event(100, 3_600_000).event(101, 42).event(102, -5);
  assert.deepEqual(page.told().lagMs, [42, 0]);
  page.hears("signal", "{}", 103).hears("", "<p>no time</p>", 104);
  assert.equal(page.told().lagMs, undefined);
});

test("a page that loaded slowly takes the server's clock from the fastest heartbeat", () => {
  const page = new Page();
  page.skew = 1_500;
  page.helloReceived(100).event(101, 2_600);
  assert.deepEqual(page.told().lagMs, [1_100], "nothing better is known before the first heartbeat");
  page.event(102, 2_600).beats(102, 900).beats(102, 10).beats(102, 400).event(103, 30);
  assert.deepEqual(page.told().lagMs, [2_590, 20]);
});

test("events that waited for a sleeping computer are not measured until a heartbeat names the head of the log", () => {
  const page = new Page().helloReceived(100).meets({ kind: "woke" }).event(101, 3_600_000);
  page.beats(110).event(110, 3_600_000).event(111, 7);
  assert.deepEqual(page.told().lagMs, [7]);
});

test("in the polling cohort each poll is an attempt, and lag is measured from one poll to the next", () => {
  const page = new Page(false).event(99, 3_600_000).meets(POLLED_OFF).event(100, 4_000).meets(POLLED_OFF, POLL_FAILED, POLLED_OFF);
  assert.deepEqual(page.told(), { cohort: "polling", attempts: 4, failures: 1, lagMs: [4_000] });
  page.at += 60_000;
  assert.deepEqual(page.event(101, 60_000).told(), {});
});

test("a page of the streaming cohort that polls without a stream measures no lag", () => {
  const page = new Page().opens(LOST, POLLED).event(101, 4_000);
  assert.equal(page.told().lagMs, undefined);
});

test("figures of one cohort are not reported for the other", () => {
  const page = new Page(false).meets(POLLED_OFF).event(100, 4_000).meets(POLLED).helloReceived().meets(HEARTBEAT);
  assert.deepEqual(page.told(), { cohort: "streaming", attempts: 1, helloMs: [1_000] });
  const left = page.opens(LOST).meets({ kind: "bye", reason: "flag-off" }, POLLED_OFF);
  assert.deepEqual(left.told(), { cohort: "polling", attempts: 1 });
});

test("nothing is reported while the server does not answer; it is reported later", () => {
  const page = new Page().opens(LOST, POLL_FAILED);
  assert.equal(page.measure.takeReport(), null);
  assert.deepEqual(page.meets(POLLED).told(), { cohort: "streaming", attempts: 1, failures: 1 });
});

test("a hundred of many lags are reported, each with the same chance", () => {
  const page = new Page().helloReceived(0);
  for (let id = 1; id <= MAX_SAMPLES; id += 1) page.event(id, 1);
  page.event(MAX_SAMPLES + 1, 9); // the random number says the middle
  const lags = page.told().lagMs ?? [];
  assert.deepEqual([lags.length, lags.indexOf(9)], [MAX_SAMPLES, 50]);
});
