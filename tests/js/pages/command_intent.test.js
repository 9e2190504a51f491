// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { forgetIntent, getCommandId, forgetFinished } from "../../../static/js/pages/command_intent.js";
import { intentKey } from "../../../static/js/pages/command_form.js";

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

/** @param {Record<string, string | string[]>} told */
function body(told) {
  const made = new FormData();
  for (const [name, value] of Object.entries(told)) for (const one of [value].flat()) made.append(name, one);
  return made;
}

test("an intent keeps its id until it is answered", () => {
  const kept = tab();
  const first = getCommandId("retry 1", "", kept);
  assert.match(first, /^[0-9a-f]{32}$/);
  assert.equal(getCommandId("retry 1", "", kept), first);
  assert.notEqual(getCommandId("retry 2", "", kept), first);
  forgetIntent("retry 1", kept);
  assert.notEqual(getCommandId("retry 1", "", kept), first);
});

test("a command that was seen to end is nobody's intent any more, and the others are kept", () => {
  const kept = tab();
  kept.setItem("another matter", "x");
  const [first, other] = [getCommandId("retry 1", "", kept), getCommandId("retry 2", "", kept)];
  forgetFinished(first, kept);
  assert.notEqual(getCommandId("retry 1", "", kept), first);
  assert.equal(getCommandId("retry 2", "", kept), other);
  assert.equal(kept.getItem("another matter"), "x");
});

test("a review that was opened anew is another intent than the one whose answer was lost", () => {
  const kept = tab();
  assert.equal(getCommandId("restart", "of the first review", kept), "of the first review");
  assert.equal(getCommandId("restart", "of the second review", kept), "of the second review");
});

test("a row's button means the same after a reload, whatever is ticked or counted by then", () => {
  const before = body({ do: "retry-job:7f3", scope: "selected", expectedCount: "12", asOf: "2026-11-21T12:03:05Z" });
  const after = body({ do: "retry-job:7f3", scope: "page", pageIds: ["7f3", "a91"], expectedCount: "13", asOf: "2026-11-21T12:04:00Z" });
  assert.equal(intentKey("/mail", before), intentKey("/mail", after));
  assert.notEqual(intentKey("/mail", before), intentKey("/search", before));
  assert.notEqual(intentKey("/mail", before), intentKey("/mail", body({ do: "delete-job:7f3" })));
});

test("a bulk command is the same one while it means the same jobs", () => {
  const chosen = { do: "retry-job", scope: "selected", jobIds: ["7f3", "a91"], expectedCount: "12", asOf: "2026-11-21T12:03:05Z" };
  assert.equal(intentKey("/mail", body(chosen)), intentKey("/mail", body({ ...chosen, expectedCount: "13", asOf: "2026-11-21T12:04:00Z" })));
  assert.notEqual(intentKey("/mail", body(chosen)), intentKey("/mail", body({ ...chosen, jobIds: ["7f3"] })));
  const all = { ...chosen, scope: "filter", state: "failed", queue: "" };
  assert.notEqual(intentKey("/mail", body(all)), intentKey("/mail", body({ ...all, expectedCount: "13" })));
});
