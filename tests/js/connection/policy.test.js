// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { ATTEMPT_DELAYS_MS, BACKGROUND_ATTEMPT_MS, decide, FIRST_POLL_SPREAD_MS, initialModel, addJitter, REOPEN_SPREAD_MS } from "../../../static/js/connection/policy.js";

const MIDDLE = 0.5; // the random number that jitters nothing

/**
 * @typedef {import("../../../static/js/connection/policy.js").ConnectionEvent} ConnectionEvent
 * @typedef {import("../../../static/js/connection/policy.js").Model} Model
 */

/** @param {ConnectionEvent[]} happenings */
function after(...happenings) {
  /** @type {import("../../../static/js/connection/policy.js").Decision} */
  let decision = { model: initialModel() };
  for (const happening of happenings) decision = decide(decision.model, happening, MIDDLE);
  return decision;
}

/** @type {ConnectionEvent} */
const START = { kind: "start", streamOn: true, online: true, pollMs: 5_000 };
/** @type {ConnectionEvent} */
const LOST = { kind: "failed", reason: "lost" };
/** @type {ConnectionEvent} */
const HELLO = { kind: "hello" };
/** @type {ConnectionEvent} */
const PROOF = { kind: "proof" };
/** @type {ConnectionEvent} */
const POLLED = { kind: "polled", stream: "on" };
/** @type {ConnectionEvent} */
const POLL_FAILED = { kind: "poll-failed" };

test("a page that may stream opens at once and does not poll", () => {
  const { model, open, poll } = after(START);
  assert.deepEqual([model.state, open, poll], ["reconnecting", 0, null]);
});

test("a page that may not stream never opens one and polls", () => {
  const { model, open, poll } = after({ ...START, streamOn: false });
  assert.deepEqual([model.state, model.reason, open, poll], ["polling", "flag-off", null, 0]);
});

test("without a network the page is offline at once, from the start too", () => {
  assert.equal(after({ ...START, online: false }).model.state, "offline");
  const { model, open, poll, close } = after(START, HELLO, { kind: "no-network" });
  assert.deepEqual([model.state, open, poll, close], ["offline", null, null, true]);
});

test("hello connects and ends all polling", () => {
  const { model, poll } = after(START, LOST, HELLO);
  assert.deepEqual([model.state, poll], ["connected", null]);
});

test("a late poll changes nothing while connected", () => {
  const { model, open, poll } = after(START, LOST, HELLO, POLLED);
  assert.deepEqual([model.state, open, poll], ["connected", undefined, undefined]);
  assert.equal(after(START, LOST, HELLO, POLL_FAILED).model.state, "connected");
});

test("five attempts after 1, 2, 4, 8 and 16 seconds, each with one poll", () => {
  /** @type {ConnectionEvent[]} */
  const lost = [START, HELLO, PROOF];
  for (const delay of [1_000, 2_000, 4_000, 8_000, 16_000]) {
    lost.push(LOST);
    const { model, open, poll } = after(...lost);
    assert.deepEqual([model.state, open, poll], ["reconnecting", delay, 0]);
  }
});

test("no attempt waits longer than 30 seconds or varies by more than a fifth", () => {
  for (const delay of ATTEMPT_DELAYS_MS) {
    assert.equal(addJitter(delay, 0), delay * 0.8);
    assert.ok(addJitter(delay, 1) <= Math.min(30_000, delay * 1.2));
  }
});

test("a poll during the attempts is not followed by further polls", () => {
  assert.equal(after(START, LOST, POLLED).poll, undefined);
  assert.equal(after(START, LOST, POLL_FAILED).model.state, "reconnecting");
});

test("after the fifth attempt the page polls, and tries the stream every 30 seconds", () => {
  const { model, open, poll } = after(START, LOST, LOST, LOST, LOST, LOST, POLLED, LOST);
  assert.deepEqual([model.state, model.reason, open, poll], ["polling", "exhausted", BACKGROUND_ATTEMPT_MS, 0]);
  assert.equal(decide(model, POLLED, MIDDLE).poll, 5_000);
});

test("if polls fail too it is offline, and a successful poll tries the stream at once", () => {
  const { model } = after(START, LOST, LOST, LOST, LOST, LOST, POLL_FAILED, LOST);
  assert.equal(model.state, "offline");
  const back = decide(model, POLLED, MIDDLE);
  assert.deepEqual([back.model.state, back.open, back.poll], ["polling", 0, 5_000]);
});

test("a successful poll does not hurry the attempts of a stream that a proxy blocks", () => {
  const { model } = after(START, LOST, LOST, LOST, LOST, LOST, POLLED, LOST);
  assert.equal(decide(model, POLLED, MIDDLE).open, undefined);
});

test("opening and hello prove nothing: an open-close loop ends in polling", () => {
  const { model } = after(START, HELLO, LOST, HELLO, LOST, HELLO, LOST, HELLO, LOST, HELLO, LOST, HELLO, LOST);
  assert.deepEqual([model.state, model.failures], ["polling", 6]);
});

test("an event or a heartbeat resets the failures", () => {
  assert.equal(after(START, LOST, LOST, HELLO, PROOF).model.failures, 0);
});

test("a goodbye is no failure; the next stream opens after the wait that the server asked for", () => {
  for (const reason of ["drain", "lifetime", "slow"]) {
    const { model, open, poll } = after(START, HELLO, PROOF, { kind: "bye", reason, retryMs: 2_400 });
    assert.deepEqual([model.state, model.failures, open, poll], ["reconnecting", 0, 2_400, undefined]);
  }
});

test("many goodbyes without anything in between become a failure", () => {
  /** @type {ConnectionEvent} */
  const bye = { kind: "bye", reason: "drain" };
  assert.equal(after(START, HELLO, bye, HELLO, bye, HELLO, bye, HELLO, bye).model.failures, 1);
});

test("a goodbye because of the flag leads to polling at once, with the first polls of many pages spread", () => {
  /** @type {ConnectionEvent} */
  const bye = { kind: "bye", reason: "flag-off" };
  const { model } = after(START, HELLO);
  for (const [random, poll] of /** @type {const} */ ([[0, 0], [0.5, FIRST_POLL_SPREAD_MS / 2], [1, FIRST_POLL_SPREAD_MS]])) {
    const moved = decide(model, bye, random);
    assert.deepEqual([moved.model.state, moved.model.reason, moved.open, moved.poll], ["polling", "flag-off", null, poll]);
  }
  assert.equal(decide({ ...model, pollMs: 1_000 }, bye, 1).poll, 1_000, "later than any other poll");
});

test("failures and goodbyes are reset when the flag goes off", () => {
  const off = after(START, HELLO, { kind: "bye", reason: "drain" }, LOST, LOST, LOST, LOST, { kind: "flag-off" });
  assert.deepEqual([off.model.failures, off.model.byes], [0, 0]);
  const on = decide(off.model, POLLED, MIDDLE);
  assert.equal(decide(on.model, LOST, MIDDLE).open, ATTEMPT_DELAYS_MS[0]);
});

test("a refusal because of the flag does not race with polls that say on", () => {
  const { model, poll } = after(START, { kind: "flag-off" });
  assert.deepEqual([model.reason, poll], ["flag-off", 5_000]);
});

test("a poll that says on brings a switched-off page back to the stream", () => {
  const { model, open, poll } = after({ ...START, streamOn: false }, POLLED);
  assert.deepEqual([model.state, model.reason, open, poll], ["reconnecting", "switched-on", REOPEN_SPREAD_MS / 2, null]);
});

test("a poll that says off ends the attempts", () => {
  const { model, open } = after(START, LOST, { kind: "polled", stream: "off" });
  assert.deepEqual([model.state, model.reason, open], ["polling", "flag-off", null]);
});

test("a switched-off page whose polls fail is offline until one succeeds", () => {
  const off = after({ ...START, streamOn: false }, POLL_FAILED);
  assert.deepEqual([off.model.state, off.poll], ["offline", 5_000]);
  assert.equal(decide(off.model, { kind: "polled", stream: "off" }, MIDDLE).model.state, "polling");
});

test("Retry-After is obeyed by attempts and polls", () => {
  assert.equal(after(START, { kind: "failed", reason: "refused", retryAfterMs: 7_000 }).open, 7_000);
  const { model } = after({ ...START, streamOn: false });
  assert.equal(decide(model, { kind: "poll-failed", retryAfterMs: 9_000 }, MIDDLE).poll, 9_000);
});

test("a page that must wait long polls meanwhile, and the attempts count on afterwards", () => {
  /** @type {ConnectionEvent} */
  const refused = { kind: "failed", reason: "refused", retryAfterMs: 600_000 };
  const { model, open, poll } = after(START, refused);
  assert.deepEqual([model.state, model.reason, model.failures, open, poll], ["polling", "refused", 1, 600_000, 0]);
  assert.equal(decide(model, POLLED, MIDDLE).poll, 5_000);
  assert.equal(decide(model, LOST, MIDDLE).model.state, "reconnecting");
});

test("the network's return opens at once, even if the reader has pressed Reconnect without it", () => {
  const { model, open } = after(START, { kind: "no-network" }, { kind: "asked" }, LOST, { kind: "network" });
  assert.deepEqual([model.state, model.failures, open], ["reconnecting", 0, 0]);
  assert.equal(after(START, { kind: "failed", reason: "refused", retryAfterMs: 60_000 }, { kind: "network", barred: true }).open, undefined);
  assert.equal(after(START, HELLO, { kind: "network" }).open, undefined);
});

test("the network's return opens at once and resets the failures", () => {
  const { model, open } = after(START, LOST, LOST, { kind: "no-network" }, { kind: "network" });
  assert.deepEqual([model.state, model.failures, open], ["reconnecting", 0, 0]);
  const off = after({ ...START, streamOn: false }, { kind: "no-network" }, { kind: "network" });
  assert.deepEqual([off.open, off.poll], [undefined, 0]);
});

test("after the end of the login nothing opens or polls any more", () => {
  const { model, open, poll, close } = after(START, { kind: "signed-out" });
  assert.deepEqual([model.state, model.reason, open, poll, close], ["offline", "signed-out", null, null, true]);
  assert.deepEqual(decide(model, POLLED, MIDDLE), { model });
  assert.deepEqual(decide(model, { kind: "network" }, MIDDLE), { model });
});

test("after somebody else's login nothing opens or polls either", () => {
  const { model, close } = after(START, HELLO, { kind: "other-user" });
  assert.deepEqual([model.state, model.reason, close], ["offline", "other-user", true]);
  assert.deepEqual(decide(model, { kind: "asked" }, MIDDLE), { model });
});

test("waking does at once what waits for a timer, and nothing beside a stream", () => {
  const exhausted = after(START, LOST, LOST, LOST, LOST, LOST, POLLED, LOST);
  const { open, poll } = decide(exhausted.model, { kind: "woke" }, MIDDLE);
  assert.deepEqual([open, poll], [0, 0]);
  assert.equal(after(START, HELLO, { kind: "woke" }).open, undefined);
  assert.equal(after({ ...START, streamOn: false }, { kind: "woke" }).open, undefined);
});

test("waking replaces a stream with a missing heartbeat, without counting a failure", () => {
  const { model, open, poll, close } = after(START, HELLO, PROOF, { kind: "woke", overdue: true });
  assert.deepEqual([model.state, model.reason, model.failures, open, poll, close], ["reconnecting", "woke", 0, 0, 0, true]);
  assert.equal(after(START, HELLO, PROOF, { kind: "no-network" }, { kind: "woke", overdue: true }).open, undefined);
});

test("waking polls, but does not open a stream before the time that the server named", () => {
  const refused = after(START, { kind: "failed", reason: "refused", retryAfterMs: 60_000 });
  const { open, poll } = decide(refused.model, { kind: "woke", barred: true }, MIDDLE);
  assert.deepEqual([open, poll], [undefined, 0]);
});

test("a background attempt waits 30 seconds at most, a poll its interval and a second", () => {
  const exhausted = after(START, LOST, LOST, LOST, LOST, LOST, POLLED);
  assert.equal(decide(exhausted.model, LOST, 1).open, 30_000);
  assert.equal(decide(exhausted.model, LOST, 0).open, 24_000);
  const slow = after({ ...START, streamOn: false, pollMs: 20_000 });
  assert.equal(decide(slow.model, POLL_FAILED, 1).poll, 21_000);
  assert.equal(decide(slow.model, POLL_FAILED, 0).poll, 16_000);
});

test("a heartbeat from a server without its database is no failure, and the next good one clears it", () => {
  /** @type {ConnectionEvent} */
  const degraded = { kind: "heartbeat", degraded: true };
  const { model } = after(START, LOST, HELLO, degraded);
  assert.deepEqual([model.state, model.reason, model.failures], ["connected", "degraded", 0]);
  assert.equal(decide(model, { kind: "heartbeat", degraded: false }, MIDDLE).model.reason, "live");
});

test("Reconnect tries at once, and one more failure leads back to polling", () => {
  const exhausted = after(START, LOST, LOST, LOST, LOST, LOST, POLLED, LOST);
  const { model, open } = decide(exhausted.model, { kind: "asked" }, MIDDLE);
  assert.deepEqual([model.state, model.reason, open], ["reconnecting", "asked", 0]);
  assert.equal(decide(model, LOST, MIDDLE).model.state, "polling");
});

/** @type {ConnectionEvent} */
const SILENT = { kind: "failed", reason: "silence" };
/** @type {ConnectionEvent} */
const NO_HELLO = { kind: "failed", reason: "no-hello" };

/** @param {number} [lateS] @returns {ConnectionEvent} */
const beat = (lateS = 0) => ({ kind: "heartbeat", degraded: false, lateS });

test("after two silent streams the page polls, says why, and tries on with growing waits", () => {
  assert.equal(after(START, NO_HELLO).model.state, "reconnecting");
  /** @type {ConnectionEvent[]} */
  const happened = [START, NO_HELLO];
  for (const delay of [2_000, 4_000, 8_000, 16_000, BACKGROUND_ATTEMPT_MS, BACKGROUND_ATTEMPT_MS]) {
    happened.push(NO_HELLO);
    const { model, open, poll } = after(...happened);
    assert.deepEqual([model.state, model.reason, open, poll], ["polling", "no-hello", delay, 0]);
    happened.push(POLLED);
    assert.equal(after(...happened).poll, 5_000);
  }
});

test("a buffered stream is trusted after a prompt heartbeat, and polls go on until then", () => {
  const held = after(START, HELLO, SILENT, HELLO, SILENT, POLLED);
  const opened = decide(held.model, HELLO, MIDDLE);
  assert.deepEqual([opened.model.state, opened.poll], ["polling", undefined]);
  const burst = decide(opened.model, PROOF, MIDDLE); // what it missed comes with its opening
  assert.equal(decide(burst.model, POLLED, MIDDLE).poll, 5_000);
  const late = decide(burst.model, beat(12), MIDDLE);
  assert.deepEqual([late.model.state, late.poll], ["polling", undefined]);
  const { model, poll } = decide(late.model, beat(), MIDDLE);
  assert.deepEqual([model.state, model.reason, model.silentStreams, poll], ["connected", "live", 0, null]);
});

test("events at its start do not make a stream that falls silent again trusted", () => {
  assert.equal(after(START, HELLO, PROOF, SILENT, HELLO, PROOF, SILENT).model.state, "polling");
  assert.equal(after(START, HELLO, beat(), SILENT, HELLO, beat(), SILENT).model.state, "reconnecting");
  assert.equal(after(START, NO_HELLO, LOST, NO_HELLO).model.state, "reconnecting");
});

test("a server that does not answer polls either is down, and back with the first hello", () => {
  const away = after(START, NO_HELLO, NO_HELLO, POLL_FAILED);
  assert.equal(away.model.state, "offline");
  const back = decide(away.model, POLLED, MIDDLE);
  assert.deepEqual([back.model.state, back.open], ["polling", 0]);
  assert.equal(decide(back.model, HELLO, MIDDLE).model.state, "connected");
});

test("Reconnect trusts the hello of a buffered stream, but only once", () => {
  const asked = after(START, NO_HELLO, NO_HELLO, POLLED, { kind: "asked" });
  assert.equal(decide(asked.model, HELLO, MIDDLE).model.state, "connected");
  assert.equal(decide(asked.model, NO_HELLO, MIDDLE).model.state, "polling");
});

test("the page polls beside a late stream until it is prompt again", () => {
  const late = after(START, HELLO, beat(), { kind: "late", lateS: 6 });
  assert.deepEqual([late.model.state, late.model.reason, late.model.lateS, late.poll], ["connected", "late", 6, 0]);
  const later = decide(late.model, { kind: "late", lateS: 7 }, MIDDLE);
  assert.deepEqual([later.model.lateS, later.poll], [7, undefined]);
  assert.equal(decide(later.model, POLLED, MIDDLE).poll, 5_000);
  assert.equal(decide(later.model, POLL_FAILED, MIDDLE).poll, 5_000);
  assert.equal(decide(later.model, { kind: "polled", stream: "off" }, MIDDLE).model.reason, "flag-off");
  const heard = decide(later.model, beat(8), MIDDLE);
  assert.deepEqual([heard.model.reason, heard.model.lateS, heard.poll], ["late", 8, undefined]);
  const prompt = decide(heard.model, beat(), MIDDLE);
  assert.deepEqual([prompt.model.reason, prompt.model.lateS, prompt.poll], ["live", 0, null]);
});

test("a stream that has ended is not late any more", () => {
  const { model } = after(START, HELLO, beat(9), SILENT);
  assert.deepEqual([model.state, model.reason, model.lateS], ["reconnecting", "silence", 0]);
  assert.equal(decide(model, { kind: "late", lateS: 6 }, MIDDLE).model.lateS, 0);
});

test("a missing database is shown rather than lateness", () => {
  const { model, poll } = after(START, HELLO, { kind: "heartbeat", degraded: true, lateS: 8 });
  assert.deepEqual([model.reason, model.lateS, poll], ["degraded", 8, 0]);
  assert.equal(decide(model, { kind: "late", lateS: 9 }, MIDDLE).model.reason, "degraded");
});
