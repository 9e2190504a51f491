import assert from "node:assert/strict";
import { test } from "node:test";

import { nextIndex, findShortcut } from "../../../static/js/interaction/shortcuts.js";

/** @param {string} key */
const press = (key, held = {}) => ({ key, ctrlKey: false, metaKey: false, altKey: false, ...held });
const free = { typing: false, inDialog: false, enabled: true };

test("each key has its action", () => {
  const actions = ["/", "?", "f", "n", "r", "x", "Enter"].map((key) => findShortcut(press(key), free));
  assert.deepEqual(actions, ["search", "help", "filter", "notifications", "pause", null, null]);
});

test("shortcuts do nothing while typing, in a dialog, when turned off, or with modifiers", () => {
  for (const change of [{ typing: true }, { inDialog: true }, { enabled: false }]) {
    assert.equal(findShortcut(press("n"), { ...free, ...change }), null);
  }
  for (const held of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }]) {
    assert.equal(findShortcut(press("r", held), free), null);
    assert.equal(nextIndex(press("ArrowDown", held), 0, 3), null);
  }
});

test("arrows step through a list and stop at its ends", () => {
  assert.equal(nextIndex(press("ArrowDown"), 0, 3), 1);
  assert.equal(nextIndex(press("ArrowUp"), 2, 3), 1);
  assert.equal(nextIndex(press("ArrowUp"), 0, 3), null);
  assert.equal(nextIndex(press("ArrowDown"), 2, 3), null);
  assert.equal(nextIndex(press("ArrowDown"), -1, 3), null);
  assert.equal(nextIndex(press("j"), 0, 3), null);
});
