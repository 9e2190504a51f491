// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { FrameParser } from "../../../static/js/connection/sse.js";

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);
/** @param {string} text */
const parse = (text) => new FrameParser().push(bytes(text));

const WIRE = "retry: 2417\nevent: hello\ndata: {\"a\":1}\n\nid: 7\ndata: one\ndata: two\n\n: comment\nevent: heartbeat\ndata: {}\n\n";

test("a stream is read as its frames, in order, with all fields", () => {
  assert.deepEqual(parse(WIRE), [
    { event: "hello", data: "{\"a\":1}", id: null, retry: 2417 },
    { event: "", data: "one\ntwo", id: "7", retry: null },
    { event: "heartbeat", data: "{}", id: null, retry: null },
  ]);
});

test("the frames are the same wherever the network splits the bytes", () => {
  const whole = bytes(`${WIRE}id: 8\r\ndata: Grüße ≠ 🦊\r\n\r\n`);
  const expected = new FrameParser().push(whole);
  for (let cut = 0; cut <= whole.length; cut += 1) {
    const parser = new FrameParser();
    assert.deepEqual([...parser.push(whole.slice(0, cut)), ...parser.push(whole.slice(cut))], expected);
  }
});

test("all three line ends of the standard end a line", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const [frame] = parse(["id: 1", "data: x", "", "data: next", ""].join(end));
    assert.deepEqual(frame, { event: "", data: "x", id: "1", retry: null });
  }
});

test("an incomplete frame at the end of the stream is not delivered", () => {
  assert.deepEqual(parse("id: 1\ndata: whole\n\nid: 2\ndata: half\n"), [{ event: "", data: "whole", id: "1", retry: null }]);
});

test("an id does not carry over to the next frame", () => {
  assert.deepEqual(parse("id: 1\ndata: a\n\ndata: b\n\n").map((frame) => frame.id), ["1", null]);
});

test("comments and blank lines are no frames", () => {
  assert.deepEqual(parse(": keep-alive\n\n\n\n"), []);
});

test("a field without a colon is empty, and an unknown one is ignored", () => {
  assert.deepEqual(parse("data\nfoo: bar\n\n"), [{ event: "", data: "", id: null, retry: null }]);
});

test("only one leading space is dropped, and colons in values stay", () => {
  assert.equal(parse("data:  a: b\n\n")[0]?.data, " a: b");
});

test("an id with a NUL and a retry that is not a number are ignored", () => {
  assert.deepEqual(parse("id: 1\0\nretry: soon\ndata: x\n\n"), [{ event: "", data: "x", id: null, retry: null }]);
});

test("a byte order mark at the start is dropped", () => {
  assert.equal(new FrameParser().push(new Uint8Array([0xef, 0xbb, 0xbf, ...bytes("data: x\n\n")]))[0]?.data, "x");
});
