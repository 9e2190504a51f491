import json
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from flask import Flask

from app.web import js_bundle
from app.web.assets import BOUNDARY, SCRIPT, SHEET, STATIC_FOLDER, Assets

TESTS = Path(__file__).resolve().parents[1] / "js"  # in the folders of static/js
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


def modules_of(*entries: str) -> list[str]:
    """The modules that these load, each as often as one of them does."""
    return [name for entry in entries for name in js_bundle.link_modules(STATIC_FOLDER / "js", entry)]


def test_every_module_is_in_the_bundle_or_comes_with_what_is_loaded_later(bare: Flask) -> None:
    assets: Assets = bare.extensions["beacon"].assets
    script = (assets.content(SCRIPT) or b"").decode()
    later = set(re.findall(r'import\("\./([\w/.]+)"\)', script))
    bundled, lazy = modules_of("main.js"), modules_of(*later)
    assert not {*bundled} & {*lazy}, "two copies of a module would each keep what the page has once"
    own = {name for name in map(str, all_modules()) if not name.startswith(("pages/", "widget/"))}
    assert {*bundled, *lazy, *modules_of(BOUNDARY)} == own
    assert "@param" not in script


def all_modules() -> list[PurePosixPath]:
    return [PurePosixPath(path.relative_to(STATIC_FOLDER / "js")) for path in (STATIC_FOLDER / "js").rglob("*.js")]


def test_every_pure_module_has_a_test_of_its_own() -> None:
    pure = {name for name in all_modules() if re.search(r"\bPure\b", (STATIC_FOLDER / "js" / name).read_text())}
    untested = {name for name in pure if not (TESTS / name).with_suffix(".test.js").exists()}
    assert (len(pure) > 15, untested) == (True, set())


def test_the_shared_modules_know_nothing_of_pages() -> None:
    lib = [str(name) for name in all_modules() if name.parts[0] == "lib"]
    assert {PurePosixPath(name).parts[0] for name in modules_of(*lib)} == {"lib"}


def test_every_import_names_a_module_that_is_there() -> None:
    linked: set[str] = set()
    for name in ("main.js", *map(str, all_modules())):
        if name not in linked:
            linked |= js_bundle.link_modules(STATIC_FOLDER / "js", name).keys()


def test_the_page_gets_every_sheet_in_one_file(bare: Flask) -> None:
    assets: Assets = bare.extensions["beacon"].assets
    sheet = (assets.content(SHEET) or b"").decode()
    for path in (STATIC_FOLDER / "css").glob("*.css"):
        rules = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert re.sub(r"\s", "", re.findall(r"[^\s{}]+\s*\{", rules)[0]) in sheet


def test_a_sheet_loses_its_comments_and_blanks_and_none_of_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        """/* why */
main :hover,
a:not(.b) > i { content: "a; b: { c, d }"; margin: 0 calc(1px + 2px); }
@media (min-width: 64em) and (pointer: fine) { b::after { content: ', '; } }
"""
    )
    assert js_bundle.bundle_sheet([tmp_path / "a.css"]) == (
        """main :hover,a:not(.b)>i{content:"a; b: { c, d }";margin:0 calc(1px + 2px)}"""
        """@media (min-width:64em) and (pointer:fine){b::after{content:', '}}"""
    )


def run_node(*arguments: str, text: str = "", folder: Path = STATIC_FOLDER.parent) -> str:
    done = subprocess.run([NODE, *arguments], input=text, capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout


def write_modules(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_bundled_modules_run_as_they_do_by_themselves(tmp_path: Path) -> None:
    write_modules(
        tmp_path,
        lib__one="/** A comment. */\nconst LIMIT = 1;\nexport const one = () => LIMIT, two = 2; // kept\n",
        lib__late='export { one } from "./one.js";\n',
        ui__two='import { one as first } from "../lib/one.js";\nconst LIMIT = 2;\n'
        'export class Two {\n  sum = first() + +LIMIT;\n  static late = () => import("../lib/late.js");\n}\n',
        main='import { one, two } from "./lib/one.js";\nimport { Two } from "./ui/two.js";\n'
        "Two.late().then((late) => console.log(one(), two, new Two().sum, `//  ${ two }`, late.one()));\n",
    )
    bundle = js_bundle.bundle_script(tmp_path, "main.js")
    assert "A comment" not in bundle
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "app.js").write_text(bundle)
    assert run_node("app.js", folder=tmp_path) == run_node("main.js", folder=tmp_path) == "1 2 3 //  2 1\n"


def test_modules_lose_comments_and_blanks_alone() -> None:
    compare = """
        const { tokenize } = require("espree");
        const language = { ecmaVersion: "latest", sourceType: "module" };
        const tokens = (text) => tokenize(text, language).map(({ value }) => value);
        const both = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
        for (const [name, [whole, bare]] of Object.entries(both)) {
          require("node:assert").deepEqual(tokens(bare), tokens(whole), name);
        }"""
    texts = {str(path): (STATIC_FOLDER / "js" / path).read_text() for path in all_modules()}
    both = {name: [text, js_bundle.minify_script(text)] for name, text in texts.items()}
    run_node("-e", compare, text=json.dumps(both))
    assert not [name for name, (_, bare) in both.items() if re.search(r"/\*\*|^\s*//", bare, re.MULTILINE)]


@pytest.mark.parametrize(
    "text",
    [
        'import x from "./a.js";\n',
        'import * as x from "./a.js";\n',
        "export default 1;\n",
        'export * from "./a.js";\n',
        "const a = 1; export { a };\n",
        'import { a } from "./main.js";\n',
        "let a = ;\n",
    ],
)
def test_what_cannot_be_bundled_is_said(tmp_path: Path, text: str) -> None:
    write_modules(tmp_path, main=text, a="")
    with pytest.raises(ValueError, match=r"main\.js"):
        js_bundle.bundle_script(tmp_path, "main.js")


def test_what_only_looks_like_a_comment_stays() -> None:
    texts = ['"x; // y"', "`z, // ${1}`", "'u{ // v'", "/; [/]{2}/.source", "1 - -1", "2 / 1"]
    lines = [f"told.push({text}); // why" for text in texts]
    script = js_bundle.minify_script("\n".join(["const told = []; /* all */", *lines]))
    assert "why" not in script
    assert "all" not in script
    told = run_node("-e", f"{script}\nconsole.log(JSON.stringify(told))")
    assert json.loads(told) == ["x; // y", "z, // 1", "u{ // v", "; [/]{2}", 2, 2]
