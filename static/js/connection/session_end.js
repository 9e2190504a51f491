// @ts-check
/**
 * What a page does whose login has ended: it says who is logged in now, and keeps what was typed into its form. It is loaded
 * only then, and gets its dependencies as arguments, because its own imports would be second copies of them.
 *
 * @typedef {Pick<typeof import("./status.js"), "connectionStatus"> & Pick<typeof import("../lib/http.js"), "fetchChecked">
 *   & { banner: { otherUser: (name: string) => void } }} Dependencies
 */

/** Controls whose content is never sent or compared. */
const UNTYPED = ["hidden", "password", "checkbox", "radio", "file", "submit", "button"];

/** @param {Dependencies} dependencies */
export function watchSessionEnd({ connectionStatus, fetchChecked, banner }) {
  const ended = new AbortController();
  const look = async () => {
    if (document.visibilityState === "hidden") return;
    const person = await findPerson(fetchChecked);
    if (ended.signal.aborted || (person === null && connectionStatus.value.reason !== "other-user")) return;
    ended.abort();
    if (connectionStatus.value.reason !== "other-user") connectionStatus.set({ reason: "other-user" });
    banner.otherUser(person ?? "");
    const link = document.querySelector("#connection a");
    if (link) link.textContent = "Signed out: reload";
  };
  const keep = () => {
    if (connectionStatus.value.reason === "signed-out") keepTypedForm();
  };
  addEventListener("focus", look, ended);
  document.addEventListener("visibilitychange", look, ended);
  addEventListener("pagehide", keep, ended);
  keep();
  if (connectionStatus.value.reason === "other-user") look(); // otherwise nobody is logged in yet
}

/**
 * Who is logged in with this browser; null if nobody is.
 * @param {Dependencies["fetchChecked"]} fetchChecked
 */
async function findPerson(fetchChecked) {
  try {
    const response = await fetchChecked(location.href, { headers: { Accept: "text/html" } }, "text/html");
    return new DOMParser().parseFromString(await response.text(), "text/html").body.dataset.person ?? null;
  } catch {
    return null;
  }
}

/**
 * Sends the form without its token and without a login, so that it is refused in any case. With the refusal the server sets
 * the cookie from which it fills in the form after the login.
 */
function keepTypedForm() {
  const form = [...document.forms].find((one) => one.method === "post" && [...one.elements].some(isTyped));
  if (!form) return;
  const body = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    const isPassword = form.querySelector(`[type=password][name="${CSS.escape(name)}"]`) !== null;
    if (typeof value === "string" && name !== "csrf_token" && !isPassword) body.append(name, value);
  }
  fetch(form.action, { method: "POST", headers: { Accept: "text/html" }, body, keepalive: true }).catch(() => {});
}

/** @param {Element} control */
function isTyped(control) {
  if (control instanceof HTMLTextAreaElement) return control.value !== control.defaultValue;
  return control instanceof HTMLInputElement && !UNTYPED.includes(control.type) && control.value !== control.defaultValue;
}
