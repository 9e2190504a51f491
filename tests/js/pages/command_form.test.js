// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { intentKey } from "../../../static/js/pages/command_form.js";

/** @param {Record<string, string | string[]>} fields */
function body(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) for (const one of [value].flat()) form.append(name, one);
  return form;
}

test("a row's button has the same key after a reload, whatever is selected", () => {
  const before = body({ do: "retry-job:7f3", scope: "selected", expectedCount: "12", asOf: "2026-11-21T12:03:05Z" });
  const after = body({ do: "retry-job:7f3", scope: "page", pageIds: ["7f3", "a91"], expectedCount: "13", asOf: "2026-11-21T12:04:00Z" });
  assert.equal(intentKey("/mail", before), intentKey("/mail", after));
  assert.notEqual(intentKey("/mail", before), intentKey("/search", before));
  assert.notEqual(intentKey("/mail", before), intentKey("/mail", body({ do: "delete-job:7f3" })));
});

test("a bulk command has the same key while it means the same jobs", () => {
  const chosen = { do: "retry-job", scope: "selected", jobIds: ["7f3", "a91"], expectedCount: "12", asOf: "2026-11-21T12:03:05Z" };
  assert.equal(intentKey("/mail", body(chosen)), intentKey("/mail", body({ ...chosen, expectedCount: "13", asOf: "2026-11-21T12:04:00Z" })));
  assert.notEqual(intentKey("/mail", body(chosen)), intentKey("/mail", body({ ...chosen, jobIds: ["7f3"] })));
  const all = { ...chosen, scope: "filter", state: "failed", queue: "" };
  assert.notEqual(intentKey("/mail", body(all)), intentKey("/mail", body({ ...all, expectedCount: "13" })));
});
