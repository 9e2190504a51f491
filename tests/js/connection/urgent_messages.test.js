// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { splitUrgent } from "../../../static/js/connection/urgent_messages.js";

const MESSAGE = '<hx-upsert hx-target="#flashes" key="id"><div class="flash">Maintenance at 18:00</div></hx-upsert>';
const TILE = '<hx-partial hx-target="#tiles"><article class="tile"></article></hx-partial>';

test("operators' messages are shown during a pause, everything else waits", () => {
  assert.deepEqual(splitUrgent(TILE + MESSAGE + TILE), { urgent: MESSAGE, rest: TILE + TILE });
  assert.deepEqual(splitUrgent(MESSAGE + MESSAGE), { urgent: MESSAGE + MESSAGE, rest: "" });
  assert.deepEqual(splitUrgent(TILE), { urgent: "", rest: TILE });
});

test("text that looks like a message is not one", () => {
  const escaped = '<hx-partial hx-target="#changes"><td>&lt;hx-upsert hx-target="#flashes"&gt;</td></hx-partial>';
  assert.deepEqual(splitUrgent(escaped), { urgent: "", rest: escaped });
});
