"""Short names in bundles: whatever a name meant in its module it still means."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.web import js_bundle
from app.web.assets import BOUNDARY, MAIN, STATIC_FOLDER
from app.web.js_names import short_names, shorten_names

NODE = str(Path(sys.executable).with_name("node"))
FOLDER = STATIC_FOLDER / "js"

# Reads both texts with eslint's own scopes, and compares what each reference resolves to: the declaration by its place,
# or the name of what is declared elsewhere.
COMPARE = """
  const { parse } = require("espree");
  const { analyze } = require("eslint-scope");
  const assert = require("node:assert");
  const options = { ecmaVersion: "latest", sourceType: "module", range: true };
  const blank = (text, [from, to]) => text.slice(0, from) + " ".repeat(to - from) + text.slice(to);
  const declarations = (text) => parse(text, options).body.reduce((left, { type, range, declaration }) => {
    if (type === "ImportDeclaration") return blank(left, range);
    return type === "ExportNamedDeclaration" ? blank(left, [range[0], declaration.range[0]]) : left;
  }, text);
  const meanings = (text) => {
    const { scopes } = analyze(parse(text, options), { ecmaVersion: 2022, sourceType: "module" });
    const places = (variable) => variable.defs.map(({ name }) => name.range[0]);
    const order = scopes.flatMap(({ variables }) => variables.flatMap(places)).sort((a, b) => a - b);
    const references = scopes.flatMap((scope) => scope.references.map(({ identifier, resolved }) => ({
      at: identifier.range[0],
      meaning: resolved?.defs.length ? order.indexOf(places(resolved)[0]) : identifier.name,
    })));
    return references.sort((a, b) => a.at - b.at).map(({ meaning }) => meaning);
  };
  let checked = 0;
  for (const { name, whole, short, imported } of JSON.parse(require("node:fs").readFileSync(0, "utf8"))) {
    const before = meanings(declarations(whole)).map((one) => imported[one] ?? one);
    assert.deepEqual(meanings(short), before, name);
    checked += before.length;
  }
  console.log(checked);
"""


def run_node(*arguments: str, text: str = "", folder: Path = STATIC_FOLDER.parent) -> str:
    done = subprocess.run([NODE, *arguments], input=text, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compare(folder: Path, *entries: str) -> int:
    """How many references were compared, over all modules of the bundles."""
    texts = []
    for entry in entries:
        modules = js_bundle.link_modules(folder, entry)
        shorten_names(module.scope for module in modules.values())
        for name, module in modules.items():
            bindings = module.scope.bindings.items()
            imported = {local: one.short for local, one in bindings if one.scope is not module.scope}
            texts.append(
                {"name": name, "whole": (folder / name).read_text(), "short": str(module), "imported": imported}
            )
    return int(run_node("-e", COMPARE, text=json.dumps(texts)))


def test_every_name_of_our_scripts_means_what_it_did() -> None:
    late = js_bundle.late_entries(js_bundle.bundle_script(FOLDER, MAIN))
    assert len(late) == 6
    assert compare(FOLDER, MAIN, BOUNDARY, *late) > 4_000


CASES = {
    "shadowing": "const a = 1; const f = (a) => { { const a = 3; told.push(a); } told.push(a); }; f(2); told.push(a);",
    "shorthands": "const a = 1, b = 2; const f = ({ a, b: c = 5 }) => [a, c]; told.push(f({ a, b }));",
    "defaults": "const f = ({ a = 1, ...b } = {}, [c = a] = []) => [a, b, c]; told.push(f(), f({ a: 2, d: 3 }));",
    "assignment": "let a, b; ({ a, b = 2 } = { a: 1 }); [a, b] = [b, a]; told.push(a, b);",
    "loops": "for (const a of [1, 2]) told.push(a); for (let a = 0; a < 2; a += 1) told.push(a);",
    "loops with var": "for (var a in { q: 1 }) told.push(a); told.push(a);",
    "errors": "try { throw new Error('x'); } catch ({ message }) { const a = message; told.push(a); }",
    "functions": "told.push(f(2)); function f(n) { return n > 0 ? [n, f(n - 1)] : g(); } function g() { return 0; }",
    "names of their own": "const f = function g(n) { return n ? g(n - 1) : 'end'; }; told.push(f(2));",
    "classes": "const A = class B { static n = () => new B() instanceof A; }; told.push(A.n());",
    "private members": "class A { #a = 1; b = 2; has(one) { return #a in one; } get sum() { return `${this.#a}`; } }"
    "const one = new A(); told.push(one.sum, one.b, one.has(one), one.has({}));",
    "templates": "const a = 1; told.push(`a ${a}  ${`b ${a + 1}`} a`);",
    "labels": "const a = [1, 2]; a: for (const b of a) { for (;;) { told.push(b); continue a; } }",
    "properties": "const e = { t: 1, n: { r: 2 } }; told.push(e.t, e.n.r, e?.['t']);",
    "globals": "const t = 1, n = 2; told.push(typeof document, Math.max(t, n), typeof process);",
    "switches": "const a = 1; switch (a) { case 1: { const b = a; told.push(b); } default: let c = 2; told.push(c); }",
    "vars": "var a = 1; const f = () => { if (a) { var b = a; } return b; }; told.push(a, f());",
    "static blocks": "class A { static list = []; static { const a = 1; A.list.push(a); } } told.push(A.list);",
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_a_script_with_short_names_does_what_it_did(tmp_path: Path, text: str) -> None:
    whole = f"const told = [];\n{text}\nconsole.log(JSON.stringify(told));\n"
    (tmp_path / "main.js").write_text(whole)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    short = js_bundle.bundle_script(tmp_path, "main.js")
    assert "told" not in short
    (tmp_path / "short.js").write_text(short)
    assert run_node("short.js", folder=tmp_path) == run_node("main.js", folder=tmp_path) != "[]\n"


@pytest.mark.parametrize("text", ["const a = 1;\neval('a');\n", "with (a) b;\n"])
def test_what_reaches_a_name_by_a_string_cannot_be_bundled(tmp_path: Path, text: str) -> None:
    (tmp_path / "main.js").write_text(text)
    with pytest.raises(ValueError, match=r"main\.js"):
        js_bundle.bundle_script(tmp_path, "main.js")


def test_an_import_of_what_is_not_exported_cannot_be_bundled(tmp_path: Path) -> None:
    (tmp_path / "other.js").write_text("const a = 1;\n")
    (tmp_path / "main.js").write_text('import { a } from "./other.js";\n')
    with pytest.raises(ValueError, match=r"main\.js: other\.js does not export 'a'"):
        js_bundle.bundle_script(tmp_path, "main.js")


def test_short_names_are_all_different_and_no_words_of_the_language() -> None:
    names = short_names(lambda name: name == "t")
    some = [next(names) for _ in range(5_000)]
    assert len(set(some)) == len(some)
    assert not {"t", "do", "if", "in"} & set(some)
