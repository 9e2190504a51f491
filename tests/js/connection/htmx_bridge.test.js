// @ts-check
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { HtmxBridge } from "../../../static/js/connection/htmx_bridge.js";

/** As much of an element as the bridge asks for. */
class FakeElement extends EventTarget {
  hidden = false;
  isConnected = false;

  setAttribute() {}

  remove() {
    this.isConnected = false;
  }
}

/** htmx with its sse extension: reads the messages of an element one after the other, and swaps what the hook leaves in them. */
class FakeHtmx {
  /** @type {string[]} */
  swapped = [];

  /** @param {any} element */
  process(element) {
    const ctx = { fetch: () => Promise.reject(new Error("the network")) };
    element.dispatchEvent(new CustomEvent("htmx:config:request", { detail: { ctx } }));
    return this.#read(element, ctx).catch((error) => element.dispatchEvent(new CustomEvent("htmx:sse:error", { detail: { error } })));
  }

  /**
   * @param {FakeElement} element
   * @param {{ fetch: () => Promise<Response> }} ctx
   */
  async #read(element, ctx) {
    const { body } = await ctx.fetch();
    for await (const bytes of body ?? []) {
      for (const text of new TextDecoder().decode(bytes).split("\n\n").slice(0, -1)) {
        const message = { data: text.replace(/^data: ?/, "") };
        element.dispatchEvent(new CustomEvent("htmx:sse:before:message", { detail: { message } }));
        await Promise.resolve();
        if (message.data === "bad") throw new Error("no such target");
        this.swapped.push(message.data);
        element.dispatchEvent(new CustomEvent("htmx:sse:after:message"));
      }
    }
  }
}

beforeEach(() => {
  const body = { append: (/** @type {FakeElement} */ element) => { element.isConnected = true; } };
  Object.assign(globalThis, { document: { createElement: () => new FakeElement(), body } });
});

/** @param {string} data */
const frame = (data) => ({ event: "", data, id: "1", retry: null });

test("htmx swaps the fragments of each frame as they were received, in order", async () => {
  const htmx = new FakeHtmx();
  const bridge = new HtmxBridge(/** @type {any} */ (htmx));
  const fragments = ["<p>one</p>\n\n<p>: two</p>", "", "data: three"];
  await Promise.all(fragments.map((data) => bridge.write(frame(data))));
  assert.deepEqual(htmx.swapped, fragments);
});

test("a frame that cannot be shown fails with those behind it, and the next one is shown", async () => {
  const htmx = new FakeHtmx();
  const bridge = new HtmxBridge(/** @type {any} */ (htmx));
  const written = await Promise.allSettled(["good", "bad", "behind"].map((data) => bridge.write(frame(data))));
  assert.deepEqual(written.map(({ status }) => status), ["fulfilled", "rejected", "rejected"]);
  await bridge.write(frame("next"));
  assert.deepEqual(htmx.swapped, ["good", "next"]);
});
