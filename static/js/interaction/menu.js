// @ts-check
/** The menu on a phone is a plain `<details>`; a tap outside or Escape closes it. */
export function watchMenu() {
  const menu = /** @type {HTMLDetailsElement | null} */ (document.getElementById("menu"));
  if (!menu) return;
  document.addEventListener("click", ({ target }) => {
    if (menu.open && target instanceof Node && !menu.contains(target)) menu.open = false;
  });
  menu.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
}
