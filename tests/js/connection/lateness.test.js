// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { LATE_AFTER_MS, Lateness } from "../../../static/js/connection/lateness.js";

const HEARTBEAT_MS = 15_000;
const SKEW = 1_700_000_000_000; // the server's clock counts from 1970, the page's from its own beginning

/**
 * A stream with hello at 0, and its heartbeats as pairs: when it was sent, and how long it took.
 * @param {[number, number][]} beats
 */
function stream(beats) {
  const lateness = new Lateness(HEARTBEAT_MS, 0);
  for (const [sent, took] of beats) lateness.heartbeat(SKEW + sent, sent + took);
  return lateness;
}

test("a stream as prompt as ever is not late, whatever the clocks say", () => {
  const lateness = stream([[10_000, 40], [25_000, 90], [40_000, 20]]);
  assert.equal(lateness.secondsAt(40_020), 0);
  assert.equal(lateness.secondsAt(55_000), 0);
});

test("a heartbeat that took longer than the fastest one is late by the difference", () => {
  assert.equal(stream([[10_000, 100], [25_000, 8_100]]).secondsAt(33_100), 8);
});

test("a small delay is not late", () => {
  const took = 100 + LATE_AFTER_MS;
  assert.equal(stream([[10_000, 100], [25_000, took]]).secondsAt(25_000 + took), 0);
});

test("a missing heartbeat is late, and later with every second", () => {
  const lateness = stream([[10_000, 100]]);
  assert.deepEqual([30_000, 30_600, 33_100].map((at) => lateness.secondsAt(at)), [0, 6, 8]);
});

test("the first heartbeat is due an interval after hello, so that both are noticed within two", () => {
  const silent = new Lateness(HEARTBEAT_MS, 0);
  assert.equal(silent.secondsAt(HEARTBEAT_MS + LATE_AFTER_MS), 0);
  assert.ok(silent.secondsAt(2 * HEARTBEAT_MS) > 0);
});

test("frames that were buffered and flushed together were late, though the last one is prompt", () => {
  const lateness = stream([[10_000, 25_050], [25_000, 10_050], [35_000, 50]]);
  assert.equal(lateness.secondsAt(35_050), 25);
});

test("the next heartbeat that comes in time, and alone, ends the lateness", () => {
  const lateness = stream([[10_000, 50], [25_000, 8_050]]);
  assert.equal(lateness.secondsAt(40_000), 8);
  lateness.heartbeat(SKEW + 40_000, 40_050);
  assert.equal(lateness.secondsAt(40_050), 0);
});

test("after its clock was set back a server is late only until the older heartbeats are forgotten", () => {
  const beats = Array.from({ length: 21 }, (_, number) => /** @type {[number, number]} */ ([15_000 * number, number === 0 ? 0 : 8_000]));
  assert.equal(stream(beats.slice(0, 20)).secondsAt(15_000 * 19 + 8_000), 8);
  assert.equal(stream(beats).secondsAt(15_000 * 20 + 8_000), 0);
});

test("a heartbeat without a time changes nothing", () => {
  const lateness = stream([[10_000, 100]]);
  lateness.heartbeat(NaN, 25_000);
  assert.equal(lateness.secondsAt(25_100), 0);
});
