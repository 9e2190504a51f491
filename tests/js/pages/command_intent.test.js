// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { forgetIntent, getCommandId, forgetFinished } from "../../../static/js/pages/command_intent.js";

/** What a tab keeps. @returns {import("../../../static/js/pages/command_intent.js").IntentStorage} */
function tab() {
  /** @type {Map<string, string>} */
  const kept = new Map();
  return {
    get length() { return kept.size; },
    key: (place) => [...kept.keys()][place] ?? null,
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, text) => { kept.set(name, text); },
    removeItem: (name) => { kept.delete(name); },
  };
}

test("an intent keeps its command id until it is answered", () => {
  const kept = tab();
  const first = getCommandId("retry 1", "", kept);
  assert.match(first, /^[0-9a-f]{32}$/);
  assert.equal(getCommandId("retry 1", "", kept), first);
  assert.notEqual(getCommandId("retry 2", "", kept), first);
  forgetIntent("retry 1", kept);
  assert.notEqual(getCommandId("retry 1", "", kept), first);
});

test("a finished command's intent is forgotten, and the others are kept", () => {
  const kept = tab();
  kept.setItem("another matter", "x");
  const [first, other] = [getCommandId("retry 1", "", kept), getCommandId("retry 2", "", kept)];
  forgetFinished(first, kept);
  assert.notEqual(getCommandId("retry 1", "", kept), first);
  assert.equal(getCommandId("retry 2", "", kept), other);
  assert.equal(kept.getItem("another matter"), "x");
});

test("a review that is opened again is a new intent", () => {
  const kept = tab();
  assert.equal(getCommandId("restart", "of the first review", kept), "of the first review");
  assert.equal(getCommandId("restart", "of the second review", kept), "of the second review");
});
