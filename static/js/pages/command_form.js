// @ts-check
/**
 * What somebody pressed, as its form tells it.
 *
 * @typedef {{ form: HTMLFormElement, button: HTMLElement | null, body: FormData, key: string, action: string, target: string }} Submission
 */

/** What makes a bulk command the same one, by its scope: the server binds the id of a command to it. */
const SCOPE_FIELDS = /** @type {Record<string, string[]>} */ ({ selected: ["jobIds"], page: ["pageIds"], filter: ["state", "queue", "expectedCount", "asOf"] });

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} button
 * @returns {Submission}
 */
export function readForm(form, button) {
  const body = new FormData(form, button);
  const [action = "", ...rest] = String(body.get("do") ?? "").split(":");
  if (rest.length > 0) body.delete("jobIds"); // the row's own button means its row
  if (body.get("scope") !== "page" || rest.length > 0) body.delete("pageIds");
  return { form, button, body, key: intentKey(form.action, body), action, target: rest.join(":") };
}

/**
 * Names the intent. A row's own button means the same whatever else stands or is ticked on the page, a reload included.
 * @param {string} address
 * @param {FormData} body
 */
export function intentKey(address, body) {
  const command = String(body.get("do") ?? "");
  if (command.includes(":")) return `${address} ${command}`;
  const scope = String(body.get("scope") ?? "");
  const values = (SCOPE_FIELDS[scope] ?? []).map((name) => body.getAll(name));
  return `${address} ${JSON.stringify([command, scope, ...values])}`;
}
