// @ts-check
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Countdown } from "../../../static/js/lib/countdown.js";

test("a paused countdown resumes with the time that was left", () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let ended = 0;
  const countdown = new Countdown(6_000, () => { ended += 1; });
  countdown.resume();
  mock.timers.tick(4_000);
  countdown.pause();
  mock.timers.tick(60_000);
  assert.equal(ended, 0);
  countdown.resume();
  countdown.resume(); // once is enough
  mock.timers.tick(1_999);
  assert.equal(ended, 0);
  mock.timers.tick(1);
  assert.equal(ended, 1);
  mock.timers.reset();
});
