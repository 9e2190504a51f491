// @ts-check
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { describeChanges, summarise } from "../../../static/js/ui/summary_text.js";

const cases = JSON.parse(readFileSync(new URL("../../web/summaries.json", import.meta.url), "utf-8"));

for (const { states, ...expected } of cases) {
  test(`${states.join(", ") || "no service"}: ${expected.words}`, () => {
    assert.deepEqual(summarise(states), expected);
  });
}

/** @param {Record<string, string>} states */
const board = (states) => new Map(Object.entries(states));

test("a screen reader says which service changed and to what, worst first, and never a number", () => {
  const before = board({ Mail: "verified", Search: "discrepancy", Sums: "verified", Reports: "verified" });
  const now = board({ Mail: "stale", Search: "verified", Sums: "stale", Reports: "discrepancy" });
  assert.equal(describeChanges(before, now), "Reports is in discrepancy. Mail and Sums are stale. Search is verified.");
});

test("three of many services that change together are named", () => {
  const names = ["A", "B", "C", "D", "E"];
  const all = (/** @type {string} */ state) => new Map(names.map((name) => [name, state]));
  assert.equal(describeChanges(all("verified"), all("stale")), "A, B, C and others are stale.");
});

test("a new service is only announced if something is wrong with it", () => {
  assert.equal(describeChanges(board({}), board({ Mail: "verified", Sums: "discrepancy" })), "Sums is in discrepancy.");
  assert.equal(describeChanges(board({ Mail: "stale" }), board({})), "");
});
