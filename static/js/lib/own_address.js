// @ts-check
/**
 * The address of a path of Beacon: behind a proxy it may lie below a prefix, which the page names.
 * @param {string} path
 */
export function ownAddress(path) {
  return `${globalThis.document?.body?.dataset.root ?? ""}${path}`;
}
