import assert from "node:assert/strict";
import { test } from "node:test";

import { PageHealth } from "../../../static/js/telemetry/page_health.js";

test("a single failure of a running page does not make it dead", () => {
  assert.equal(new PageHealth().recordFailure({ where: "script", started: true, now: 0 }), false);
});

test("a failure at the start makes the page dead", () => {
  assert.equal(new PageHealth().recordFailure({ where: "script", started: false, now: 0 }), true);
  assert.equal(new PageHealth().recordFailure({ where: "load", started: true, now: 0 }), true);
});

test("five failures within ten seconds make the page dead, four do not", () => {
  const pageHealth = new PageHealth();
  const deaths = [0, 1_000, 2_000, 3_000, 9_999].map((now) => pageHealth.recordFailure({ where: "swap", started: true, now }));
  assert.deepEqual(deaths, [false, false, false, false, true]);
});

test("old failures do not count", () => {
  const pageHealth = new PageHealth();
  const deaths = [0, 1, 2, 3, 10_001, 10_002].map((now) => pageHealth.recordFailure({ where: "promise", started: true, now }));
  assert.equal(deaths.includes(true), false);
});
