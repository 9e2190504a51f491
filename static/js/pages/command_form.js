// @ts-check
/**
 * Reads what was pressed from its form.
 *
 * @typedef {{ form: HTMLFormElement, button: HTMLElement | null, body: FormData, key: string, target: string }} Submission
 */

/** The fields that identify a bulk command, for each scope: the server binds the command's id to them. */
const SCOPE_FIELDS = /** @type {Record<string, string[]>} */ ({ selected: ["jobIds"], page: ["pageIds"], filter: ["state", "queue", "expectedCount", "asOf"] });

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} button
 * @returns {Submission}
 */
export function readForm(form, button) {
  const body = new FormData(form, button);
  const [, ...rest] = String(body.get("do") ?? "").split(":");
  if (rest.length > 0) body.delete("jobIds"); // the button of a row acts on its row alone
  if (body.get("scope") !== "page" || rest.length > 0) body.delete("pageIds");
  return { form, button, body, key: intentKey(form.action, body), target: rest.join(":") };
}

/**
 * A key for the intent. A row's own button has the same key whatever is selected on the page, even after a reload.
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
