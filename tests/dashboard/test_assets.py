import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from app.web import js_bundle
from app.web.assets import BUNDLES, STATIC_FOLDER, Assets

NODE = str(Path(sys.executable).with_name("node"))


def test_the_build_changes_with_a_files_content_and_name(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("one")
    first = Assets(tmp_path).build
    assert Assets(tmp_path).build == first
    (tmp_path / "a.js").write_text("two")
    second = Assets(tmp_path).build
    (tmp_path / "a.js").rename(tmp_path / "b.js")
    assert len({first, second, Assets(tmp_path).build}) == 3


def cache_control(app: Flask, address: str) -> str | None:
    """How long the file may be kept; None where there is no such file."""
    with app.test_client().get(address) as response:
        return response.headers["Cache-Control"] if response.status_code == 200 else None


def test_a_file_of_this_build_may_be_kept_for_ever(bare: Flask) -> None:
    address = bare.jinja_env.globals["asset"]("js/main.js")
    assert cache_control(bare, address) == "public, max-age=31536000, immutable"


def test_a_page_of_another_build_gets_its_files_but_may_not_keep_them(bare: Flask) -> None:
    assert cache_control(bare, "/static/0.0.1-00000000/js/main.js") == "no-cache"


def test_nothing_outside_the_folder_is_served(bare: Flask) -> None:
    assert cache_control(bare, "/static/x/../../pyproject.toml") is None
    assert cache_control(bare, "/static/x/%2e%2e/%2e%2e/pyproject.toml") is None


def test_every_module_imports_only_what_is_there() -> None:
    scripts = {path.name: path.read_text() for path in (STATIC_FOLDER / "js").glob("*.js")}
    for text in scripts.values():
        assert set(re.findall(r'from "\./([\w.-]+)"', text)) <= set(scripts)


def test_the_page_gets_every_module_and_sheet_in_one_file_each(bare: Flask) -> None:
    assets: Assets = bare.extensions["beacon_assets"]
    script, sheet = (assets.content(name) or b"" for name in BUNDLES)
    together, later = (set(js_bundle.order_modules(STATIC_FOLDER / "js", name)) for name in ("main", "keyboard"))
    for name in ("lateness", "detail", "toast"):
        later |= set(js_bundle.order_modules(STATIC_FOLDER / "js", name))
    assert not together & later, "two copies of a module would each keep what the page has once"
    assert together | later | {"boundary", "vitals"} == {path.stem for path in (STATIC_FOLDER / "js").glob("*.js")}
    assert b"@param" not in script
    for path in (STATIC_FOLDER / "css").glob("*.css"):
        rules = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert re.sub(r"\s", "", re.findall(r"[^\s{}]+\s*\{", rules)[0]) in sheet.decode()


def test_a_sheet_loses_its_comments_and_blanks_and_none_of_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        """/* why */
main :hover,
a:not(.b) > i { content: "a; b: { c, d }"; margin: 0 calc(1px + 2px); }
@media (min-width: 64em) and (pointer: fine) { b::after { content: ', '; } }
"""
    )
    assert js_bundle.bundle_sheet([tmp_path / "a.css"]) == (
        """main :hover,a:not(.b) > i{content:"a; b: { c, d }";margin:0 calc(1px + 2px);}"""
        """@media (min-width:64em) and (pointer:fine){b::after{content:', ';}}"""
    )


def test_linked_modules_run_as_they_do_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "one.js").write_text("/** A comment. */\nconst LIMIT = 1;\nexport const one = () => LIMIT; // kept\n")
    (tmp_path / "two.js").write_text(
        'import { one as first } from "./one.js";\nconst LIMIT = 2;\nexport class Two {\n  sum = first() + LIMIT;\n}\n'
    )
    (tmp_path / "main.js").write_text(
        'import { one } from "./one.js";\nimport { Two } from "./two.js";\nconsole.log(one(), new Two().sum, `//`);\n'
    )
    text = js_bundle.bundle_script(tmp_path, "main")
    assert "A comment" not in text
    done = subprocess.run([NODE, "--input-type=module", "-"], input=text, capture_output=True, text=True, check=True)
    assert done.stdout == "1 3 //\n"


def test_what_the_modules_lose_is_comments_alone() -> None:
    script = """
        const { tokenize } = require("espree");
        const language = { ecmaVersion: "latest", sourceType: "module" };
        const tokens = (text) => tokenize(text, language).map(({ value }) => value);
        const both = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
        for (const [name, [whole, bare]] of Object.entries(both)) {
          require("node:assert").deepEqual(tokens(bare), tokens(whole), name);
        }"""
    sources = {path.name: path.read_text() for path in (STATIC_FOLDER / "js").glob("*.js")}
    both = {name: [text, js_bundle.strip_module(text)] for name, text in sources.items()}
    subprocess.run([NODE, "-e", script], input=json.dumps(both), check=True, text=True, cwd=STATIC_FOLDER.parent)
    assert not [name for name, (_, bare) in both.items() if re.search(r"/\*|(?<!:)//(?! eslint)", bare)]


@pytest.mark.parametrize(
    "text", ['import x from "./a.js";\n', "export default 1;\n", 'import { a } from "./main.js";\n']
)
def test_what_cannot_be_linked_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "main.js").write_text(text)
    with pytest.raises(ValueError, match=r"main\.js"):
        js_bundle.bundle_script(tmp_path, "main")


def test_comments_behind_statements_go_and_what_only_looks_like_one_stays(tmp_path: Path) -> None:
    texts = ['const a = "x; // y"', "const b = `z, // ${1}`", "const c = 'u{ // v'", "const d = /; [/]{2}/"]
    lines = [f"{text}; // why" for text in texts]
    (tmp_path / "main.js").write_text("\n".join([*lines, "export const e = [a, b, c, d.source]; // all", ""]))
    text = js_bundle.bundle_script(tmp_path, "main")
    assert "why" not in text
    assert "all" not in text
    plain = [NODE, "-e", f"{text}console.log(JSON.stringify($main.e))"]
    told = subprocess.run(plain, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == ["x; // y", "z, // 1", "u{ // v", "; [/]{2}"]
