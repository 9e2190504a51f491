// @ts-check
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { LiveConnection } from "../../../static/js/connection/live.js";
import { StreamTokenSource } from "../../../static/js/connection/stream_token.js";
import { describeTimeLimit } from "../../../static/js/ui/cut_pattern.js";
import { describeConnection } from "../../../static/js/ui/connection_text.js";

/**
 * The connection of a page behind a proxy that goes wrong with streams. Time and network are made here, and nothing else: each
 * fault is noticed within two heartbeats, said in plain words, polled around, and left as soon as it is gone.
 */

const HEARTBEAT_S = 15;
const TWO_HEARTBEATS_S = 2 * HEARTBEAT_S;
const POLL_S = 5;
const BEGIN = Date.parse("2026-12-01T03:00:00Z");

/** @param {string} text @param {Record<string, string>} [headers] @param {number} [status] */
const answer = (text, headers = { "Content-Type": "text/event-stream" }, status = 200) => new Response(text, { headers, status });

/** @param {number} id */
const eventFrame = (id) => `id: ${id}\ndata: <p>${id}</p>\n\n`;

/** Beacon with a proxy before it. `mode` may change at any time. */
class Front {
  /** @type {"pass" | "hold" | "late" | "cut" | "bad-gateway"} */
  mode = "pass";
  head = 0;
  polls = 0;
  /** @type {Set<{ held: string, openedAt: number, controller: ReadableStreamDefaultController<Uint8Array> }>} */
  streams = new Set();

  hello() {
    return `event: hello\ndata: ${JSON.stringify({ heartbeatS: HEARTBEAT_S, session: "s", build: "b", stream: "on" })}\n\n`;
  }

  /** @param {string} address @param {RequestInit} options */
  fetch(address, options) {
    if (address === "/api/stream/token") return Promise.resolve(answer('{"token": "t", "expiresInS": 300, "session": "s"}', { "Content-Type": "application/json" }));
    if (this.mode === "bad-gateway") return Promise.resolve(answer("<h1>502 Bad Gateway</h1>", { "Content-Type": "text/html" }, 502));
    if (address.startsWith("/api/events/frames")) return Promise.resolve(this.#poll(Number(address.split("=")[1])));
    return Promise.resolve(this.#open(options));
  }

  /** @param {number} after */
  #poll(after) {
    this.polls += 1;
    return answer(this.hello() + Array.from({ length: this.head - after }, (_, n) => eventFrame(after + n + 1)).join(""));
  }

  /** @param {RequestInit} options */
  #open(options) {
    const after = Number(/** @type {Record<string, string>} */ (options.headers)["Last-Event-ID"]);
    const body = new ReadableStream({
      start: (controller) => {
        const stream = { held: "", openedAt: Date.now(), controller };
        this.streams.add(stream);
        options.signal?.addEventListener("abort", () => this.#end(stream, options.signal?.reason));
        this.#send(stream, this.hello());
        for (let id = after + 1; id <= this.head; id += 1) this.#send(stream, eventFrame(id));
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  }

  publish() {
    this.head += 1;
    for (const stream of this.streams) this.#send(stream, eventFrame(this.head));
  }

  /** Once a second. */
  tick() {
    for (const stream of this.streams) {
      const age = Math.round((Date.now() - stream.openedAt) / 1_000);
      if (age > 0 && age % HEARTBEAT_S === 0) this.#send(stream, `event: heartbeat\ndata: ${JSON.stringify({ timestamp: new Date().toISOString() })}\n\n`);
      if (this.mode === "cut" && age >= 60) this.#end(stream, new TypeError("network error"));
    }
  }

  /** @param {{ held: string, controller: ReadableStreamDefaultController<Uint8Array> }} stream @param {string} text */
  #send(stream, text) {
    const isHeld = this.mode === "hold" || this.mode === "late";
    stream.held += text;
    if (isHeld) return;
    stream.controller.enqueue(new TextEncoder().encode(stream.held));
    stream.held = "";
  }

  /** @param {any} stream @param {unknown} error */
  #end(stream, error) {
    if (this.streams.delete(stream)) stream.controller.error(error);
  }
}

/** A page behind the front: what it shows, and what it says of its connection. */
class Page {
  /** @type {number[]} */
  shown = [];
  /** @type {any} */
  status = {};
  received = 0;

  /** @param {Front} front */
  constructor(front) {
    this.front = front;
    const delivery = /** @type {any} */ (this);
    this.live = new LiveConnection(new StreamTokenSource("csrf", "s"), delivery, "s");
    const ignore = () => {};
    this.live.setListener({ log: ignore, frame: ignore, beaconHeard: ignore, build: ignore, withStats: ignore, status: (update) => { this.status = update; } });
    this.live.start(true, POLL_S * 1_000);
  }

  /** @param {import("../../../static/js/connection/sse.js").Frame} frame */
  take(frame) {
    const id = Number(frame.id);
    if (id > this.received) this.shown.push(id);
    this.received = Math.max(this.received, id);
    return Promise.resolve();
  }

  get sentence() {
    return describeConnection({ paused: false, broken: false, ...this.status }).sentence;
  }

  /**
   * The seconds until it looks so, an event being published every second.
   * @param {() => boolean} look
   * @param {number} mostS
   */
  async until(look, mostS) {
    for (let second = 0; second <= mostS; second += 1) {
      if (look()) return second;
      this.front.publish();
      this.front.tick();
      mock.timers.tick(1_000);
      await settle();
    }
    throw new Error(`not within ${mostS} s: ${JSON.stringify(this.status)}`);
  }

  /** @param {number} seconds */
  async pass(seconds) {
    const end = Date.now() + 1_000 * seconds;
    await this.until(() => Date.now() >= end, seconds);
  }

  /** Every event once and in order, and none older than this many seconds is missing. */
  assertRight(lateS = 0) {
    assert.deepEqual(this.shown, Array.from(this.shown, (_, index) => index + 1));
    assert.ok(this.shown.length >= this.front.head - lateS, `${this.shown.length} of ${this.front.head}`);
  }
}

/** Lets everything happen that waits for no timer. */
async function settle() {
  for (let turn = 0; turn < 8; turn += 1) await new Promise((resolve) => { setImmediate(resolve); });
}

const { fetch, performance: clock } = globalThis;
/** @type {Page} */
let page;
/** @type {Front} */
let front;

beforeEach(async () => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: BEGIN });
  mock.method(clock, "now", () => Date.now() - BEGIN);
  mock.method(Math, "random", () => 0.5);
  Reflect.set(globalThis, "addEventListener", () => {});
  Object.defineProperty(globalThis, "navigator", { value: { onLine: true }, configurable: true });
  front = new Front();
  globalThis.fetch = (address, options) => front.fetch(String(address), options ?? {});
  page = new Page(front);
  mock.timers.tick(1);
  await settle();
  await page.until(() => page.status.state === "connected", 2);
  await page.pass(20);
});

afterEach(() => {
  page.live.stop();
  mock.timers.reset();
  mock.restoreAll();
  globalThis.fetch = fetch;
});

/** @param {"hold" | "late" | "cut" | "bad-gateway"} mode  from here on */
function breakProxy(mode) {
  front.mode = mode;
  if (mode !== "late") for (const stream of [...front.streams]) stream.controller.error(new TypeError("network error"));
  if (mode !== "late") front.streams.clear();
}

test("a stream whose beginning is held back is polled around within two heartbeats and taken again when it comes through", async () => {
  breakProxy("hold");
  await page.until(() => page.status.state === "polling", TWO_HEARTBEATS_S);
  assert.match(page.sentence, /opened but stays silent, perhaps because of a proxy in between/);
  await page.pass(60);
  assert.equal(page.status.state, "polling");
  page.assertRight(2 * POLL_S);
  front.mode = "pass";
  await page.until(() => page.status.state === "connected", 60);
  await page.pass(1);
  page.assertRight();
});

test("a stream that comes late says by how much within two heartbeats, and is polled beside until it is prompt", async () => {
  breakProxy("late");
  await page.until(() => page.status.reason === "late", TWO_HEARTBEATS_S);
  assert.match(page.sentence, /Changes come late, perhaps because of a proxy in between/);
  await page.pass(3);
  assert.ok(page.status.lateS >= 5);
  page.assertRight(2 * POLL_S);
  front.mode = "pass";
  await page.until(() => page.status.reason === "live", TWO_HEARTBEATS_S);
  page.assertRight();
});

test("a stream that is cut every minute is back within two seconds, and its details say so", async () => {
  front.mode = "cut";
  /** @type {string[]} */
  const sentences = [];
  for (let cut = 0; cut < 3; cut += 1) {
    await page.until(() => page.status.state === "reconnecting", 62);
    sentences.push(page.sentence);
    await page.until(() => page.status.state === "connected", 2);
    page.assertRight(1);
  }
  assert.match(sentences[0] ?? "", /connection was lost; trying again, and asking the server meanwhile/);
  assert.match(describeTimeLimit(page.status.errors), /cuts the live connection after \d\d s each time/);
});

test("a proxy that answers 502 in HTML is named, and left as soon as Beacon answers", async () => {
  breakProxy("bad-gateway");
  await page.until(() => page.status.reason === "gateway", TWO_HEARTBEATS_S);
  assert.match(page.sentence, /A proxy in between cannot reach Beacon/);
  await page.until(() => page.status.state === "offline", 60);
  front.mode = "pass";
  await page.until(() => page.status.state === "connected", POLL_S + 2);
  page.assertRight(1);
});
