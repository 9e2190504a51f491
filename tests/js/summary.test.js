// @ts-check
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { summarise } from "../../static/js/summary.js";

const cases = JSON.parse(readFileSync(new URL("../dashboard/summaries.json", import.meta.url), "utf-8"));

for (const { states, ...expected } of cases) {
  test(`${states.join(", ") || "no service"}: ${expected.words}`, () => {
    assert.deepEqual(summarise(states), expected);
  });
}
