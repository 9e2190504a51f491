// @ts-check
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Refetch } from "../../../static/js/lib/refetch.js";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

/**
 * The load is refused by another copy of http.js than ours, as between app.js and the script of a page.
 * @param {{ status: number, retryAfterMs?: number }} refusal
 */
async function refused(refusal) {
  const seen = { looks: 0 };
  const look = () => {
    seen.looks += 1;
    return Promise.reject(Object.assign(new Error("refused"), refusal));
  };
  await new Refetch(look, 0).now();
  return seen;
}

test("a load that needs a login is not retried", async () => {
  const seen = await refused({ status: 401 });
  mock.timers.tick(600_000);
  assert.equal(seen.looks, 1);
});

test("a failed load is retried, but not before the server allows", async () => {
  const soon = await refused({ status: 500 });
  mock.timers.tick(6_000);
  assert.equal(soon.looks, 2);
  const later = await refused({ status: 503, retryAfterMs: 30_000 });
  mock.timers.tick(29_999);
  assert.equal(later.looks, 1);
  mock.timers.tick(1);
  assert.equal(later.looks, 2);
});

test("many requests lead to one load, requests during a load to one more", async () => {
  let looks = 0;
  /** @type {() => void} */
  let answer = () => {};
  const refetch = new Refetch(() => new Promise((resolve) => { looks += 1; answer = resolve; }), 500);
  for (let n = 0; n < 5; n += 1) refetch.soon();
  mock.timers.tick(500);
  assert.equal(looks, 1);
  refetch.soon();
  refetch.soon();
  answer();
  await new Promise((resolve) => { setImmediate(resolve); });
  mock.timers.tick(500);
  assert.equal(looks, 2);
});
