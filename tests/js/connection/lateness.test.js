// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { LATE_AFTER_MS, Lateness } from "../../../static/js/connection/lateness.js";

const HEARTBEAT_MS = 15_000;
const SKEW = 1_700_000_000_000; // the server's clock counts from 1970, the page's from its own beginning

/**
 * A stream that said hello at 0, and heartbeats as pairs: when it was sent, and after how long it came.
 * @param {[number, number][]} beats
 */
function stream(beats) {
  const lateness = new Lateness(HEARTBEAT_MS, 0);
  for (const [sent, took] of beats) lateness.heartbeat(SKEW + sent, sent + took);
  return lateness;
}

test("what comes as promptly as ever is not late, whatever the clocks say", () => {
  const lateness = stream([[10_000, 40], [25_000, 90], [40_000, 20]]);
  assert.equal(lateness.secondsAt(40_020), 0);
  assert.equal(lateness.secondsAt(55_000), 0);
});

test("a heartbeat that took longer than the promptest one is late by the difference", () => {
  assert.equal(stream([[10_000, 100], [25_000, 8_100]]).secondsAt(33_100), 8);
});

test("a delay within the bound says nothing", () => {
  const took = 100 + LATE_AFTER_MS;
  assert.equal(stream([[10_000, 100], [25_000, took]]).secondsAt(25_000 + took), 0);
});

test("a heartbeat that is due and not there is late, and later with every second", () => {
  const lateness = stream([[10_000, 100]]);
  assert.deepEqual([30_000, 30_600, 33_100].map((at) => lateness.secondsAt(at)), [0, 6, 8]);
});

test("the first heartbeat is due an interval after hello, so that both are noticed within two", () => {
  const silent = new Lateness(HEARTBEAT_MS, 0);
  assert.equal(silent.secondsAt(HEARTBEAT_MS + LATE_AFTER_MS), 0);
  assert.ok(silent.secondsAt(2 * HEARTBEAT_MS) > 0);
});

test("frames that are held back and let go in one piece were late, though the last one is prompt", () => {
  const lateness = stream([[10_000, 25_050], [25_000, 10_050], [35_000, 50]]);
  assert.equal(lateness.secondsAt(35_050), 25);
});

test("the next heartbeat that comes in time, and alone, forgives it", () => {
  const lateness = stream([[10_000, 50], [25_000, 8_050]]);
  assert.equal(lateness.secondsAt(40_000), 8);
  lateness.heartbeat(SKEW + 40_000, 40_050);
  assert.equal(lateness.secondsAt(40_050), 0);
});

test("a server whose clock is set back is late no longer than its promptest heartbeats are remembered", () => {
  const beats = Array.from({ length: 21 }, (_, number) => /** @type {[number, number]} */ ([15_000 * number, number === 0 ? 0 : 8_000]));
  assert.equal(stream(beats.slice(0, 20)).secondsAt(15_000 * 19 + 8_000), 8);
  assert.equal(stream(beats).secondsAt(15_000 * 20 + 8_000), 0);
});

test("a heartbeat without a time changes nothing", () => {
  const lateness = stream([[10_000, 100]]);
  lateness.heartbeat(NaN, 25_000);
  assert.equal(lateness.secondsAt(25_100), 0);
});
