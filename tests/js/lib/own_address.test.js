// @ts-check
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { fetchChecked } from "../../../static/js/lib/http.js";
import { ownAddress } from "../../../static/js/lib/own_address.js";

const { fetch } = globalThis;

afterEach(() => {
  globalThis.fetch = fetch;
  Reflect.deleteProperty(globalThis, "document");
});

/** @param {Record<string, string>} dataset */
function showPage(dataset) {
  Reflect.set(globalThis, "document", { body: { dataset } });
}

test("a path lies below the prefix that the page names, or below none", () => {
  showPage({ root: "/ops/beacon" });
  assert.equal(ownAddress("/login?next=/"), "/ops/beacon/login?next=/");
  showPage({});
  assert.equal(ownAddress("/login"), "/login");
});

test("requests go below the prefix, and a whole address goes where it says", async () => {
  /** @type {string[]} */
  const asked = [];
  globalThis.fetch = (address) => {
    asked.push(String(address));
    return Promise.resolve(new Response("{}", { headers: { "Content-Type": "application/json" } }));
  };
  showPage({ root: "/beacon" });
  await fetchChecked("/api/events/frames?after=1", {}, "application/json");
  await fetchChecked("https://host/beacon/audit", {}, "application/json");
  assert.deepEqual(asked, ["/beacon/api/events/frames?after=1", "https://host/beacon/audit"]);
});
