// @ts-check
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compareBoard, describeDifferences, matchesState } from "../../../static/js/pages/board_rules.js";

const service = (status = "verified", more = {}) => ({ status, failing: false, hidden: false, nearly: false, ...more });

/**
 * @param {Record<string, ReturnType<typeof service>>} before
 * @param {Record<string, ReturnType<typeof service>>} now
 * @param {string} [wanted]
 * @param {boolean} [byState]
 */
function says(before, now, wanted = "", byState = false) {
  const [placed, seen] = [before, now].map((one) => new Map(Object.entries(one)));
  assert.ok(placed && seen);
  return describeDifferences(compareBoard(placed, seen, { wanted, byState }));
}

const states = ["discrepancy", "stale", "unknown", "verified"];
// tests/web/test_board.py reads the same table: the page and its scripts may not disagree.
const filters = JSON.parse(readFileSync(new URL("../../web/board_filters.json", import.meta.url), "utf-8"));

for (const { wanted, failing, matching } of filters) {
  test(`filter "${wanted}" of services ${failing ? "with" : "without"} failing jobs`, () => {
    assert.deepEqual(states.filter((one) => matchesState(one, failing, wanted)), matching);
  });
}

test("a hidden service that matches now is announced, and one of another name is not", () => {
  const before = { a: service("verified", { hidden: true, nearly: true }), b: service("verified", { hidden: true }) };
  const now = { a: service("stale", { hidden: true, nearly: true }), b: service("stale", { hidden: true }) };
  assert.equal(says(before, now, "stale"), "1 more matches: update");
  assert.equal(says(before, before, "stale"), "");
});

test("a shown service that no longer matches stays, and the page says so", () => {
  const before = { a: service("stale"), b: service("stale"), c: service("stale") };
  assert.equal(says(before, { ...before, a: service(), b: service() }, "stale"), "2 no longer match: update");
});

test("a changed state counts where the order or the groups follow it", () => {
  const [before, now] = [{ a: service() }, { a: service("stale") }];
  assert.equal(says(before, now, "", true), "1 changed state: update");
  assert.equal(says(before, now), "");
});

test("a service that was added waits for the next load", () => {
  assert.equal(says({}, { a: service("verified", { hidden: true }) }), "1 new: update");
});
