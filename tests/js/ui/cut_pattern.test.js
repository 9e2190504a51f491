// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeTimeLimit } from "../../../static/js/ui/cut_pattern.js";

/** @param {string[]} texts */
const describe = (...texts) => describeTimeLimit(texts.map((text, at) => ({ at, text })));

test("streams that are cut after the same time again and again have a limit in between", () => {
  assert.match(describe("stream: lost after 61 s", "stream: network error after 60 s"), /a proxy, cuts the live connection after 60 s/);
  assert.match(describe("stream: no-hello", "stream: lost after 60 s", "poll: 502 gateway", "stream: lost after 61 s"), /60 s/);
});

test("one cut, cuts at any time, short streams, silence and refusals have none", () => {
  for (const texts of [
    [], ["stream: lost after 60 s"], ["stream: lost after 60 s", "stream: lost after 90 s"], ["stream: lost after 2 s", "stream: lost after 2 s"],
    ["stream: silence after 60 s", "stream: silence after 60 s"], ["stream: 502 gateway", "stream: 502 gateway"],
    ["stream: lost after 60 s", "stream: lost after 60 s", "stream: no-hello"],
  ]) assert.equal(describe(...texts), "", texts.join());
});
