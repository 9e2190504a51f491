// @ts-check
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { announce } from "../../../static/js/ui/announcements.js";
import { showConnection } from "../../../static/js/ui/connection_badge.js";

test("the state of the connection is announced once for each change, whatever else is announced in between", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  /** @type {string[]} */
  const heard = [];
  const place = { get textContent() { return heard.at(-1) ?? ""; }, set textContent(text) { heard.push(text); } };
  Object.assign(globalThis, { document: { getElementById: () => place, querySelector: () => null } });
  const badge = /** @type {any} */ ({ dataset: {}, querySelector: () => null });
  const show = (/** @type {string} */ state, /** @type {string} */ reason) => showConnection(badge, /** @type {any} */ ({ state, reason, paused: false, broken: false, lateS: 0 }));
  const pass = () => mock.timers.tick(1_000);

  show("reconnecting", "starting");
  pass();
  show("connected", "live");
  pass();
  announce("Mail is stale.", "services");
  show("connected", "live"); // a heartbeat
  pass();
  show("connected", "live");
  pass();
  show("reconnecting", "lost");
  show("connected", "live"); // back within a second: no news
  pass();
  show("reconnecting", "lost");
  pass();
  show("reconnecting", "refused");
  pass();
  show("connected", "live");
  pass();
  assert.deepEqual(heard.map((text) => text.split(".")[0]), ["Connected", "Mail is stale", "Reconnecting", "Connected"]);
});
