// @ts-check
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Refetch } from "../../../static/js/lib/refetch.js";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

/**
 * What was looked for is refused, as another instance of http.js says it: the page's own script has one, app.js another.
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

test("a look that needs a login first is not tried again", async () => {
  const seen = await refused({ status: 401 });
  mock.timers.tick(600_000);
  assert.equal(seen.looks, 1);
});

test("a look that failed is tried again, and not before the server wants it", async () => {
  const soon = await refused({ status: 500 });
  mock.timers.tick(6_000);
  assert.equal(soon.looks, 2);
  const later = await refused({ status: 503, retryAfterMs: 30_000 });
  mock.timers.tick(29_999);
  assert.equal(later.looks, 1);
  mock.timers.tick(1);
  assert.equal(later.looks, 2);
});

test("asked often, it looks once, and once more when it was asked meanwhile", async () => {
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
