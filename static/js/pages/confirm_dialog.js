// @ts-check
/** A dialog before something is deleted: it names what and where; Cancel has the focus. */

/**
 * @param {{ title: string, words: string, verb: string }} texts
 * @returns {Promise<boolean>}
 */
export function confirm({ title, words, verb }) {
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  dialog.setAttribute("aria-labelledby", "confirm-title");
  const head = document.createElement("h2");
  head.id = "confirm-title";
  head.textContent = title;
  const text = document.createElement("p");
  text.textContent = words;
  const actions = document.createElement("form");
  actions.method = "dialog";
  actions.className = "dialog-actions";
  actions.append(createButton("Cancel", "cancel", ""), createButton(verb, "do", " danger"));
  dialog.append(head, text, actions);
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector("button")?.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "do");
      dialog.remove();
    });
  });
}

/**
 * @param {string} text
 * @param {string} value
 * @param {string} more
 */
function createButton(text, value, more) {
  const element = document.createElement("button");
  element.className = `button${more}`;
  element.value = value;
  element.textContent = text;
  return element;
}
