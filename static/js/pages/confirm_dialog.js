// @ts-check
/** A dialog before something is lost: it names what and where, Cancel has the focus. */

/**
 * @param {{ title: string, words: string, verb: string }} said
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, words, verb }) {
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
  actions.append(button("Cancel", "cancel", ""), button(verb, "do", " danger"));
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
function button(text, value, more) {
  const made = document.createElement("button");
  made.className = `button${more}`;
  made.value = value;
  made.textContent = text;
  return made;
}
