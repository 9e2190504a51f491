// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAgo, formatDuration, formatMoment, formatUntil } from "../../../static/js/lib/time_text.js";

test("ages are formatted in the largest whole unit, rounded down", () => {
  const said = [0, 999, 3_400, 59_999, 60_000, 3_599_000, 3_600_000, 86_400_000, 200_000_000].map(formatAgo);
  assert.deepEqual(said, ["0 s ago", "0 s ago", "3 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "1 d ago", "2 d ago"]);
});

test("a time in the future is now", () => {
  assert.equal(formatAgo(-5_000), "0 s ago");
});

test("date and time include the time zone", () => {
  assert.match(formatMoment(new Date("2026-11-21T12:03:05.123Z")), /^\d+ Nov 2026, \d\d:03:05 \S+$/);
});

test("an end includes the day only if it is not today", () => {
  const now = new Date(2026, 10, 21, 12, 0);
  assert.equal(formatUntil(new Date(2026, 10, 21, 12, 30), now), "12:30");
  assert.equal(formatUntil(new Date(2026, 10, 22, 8, 5), now), "22 Nov, 08:05");
});

test("a duration is formatted in the largest whole unit", () => {
  assert.equal(formatDuration(125_000), "for 2 min");
});
