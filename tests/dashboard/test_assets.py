import re
from pathlib import Path

from flask import Flask

from app.assets import FOLDER, Assets


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


def test_every_module_is_preloaded_and_imports_only_what_is_there(bare: Flask) -> None:
    preloaded = {Path(address).name for address in bare.jinja_env.globals["script_modules"]()}
    scripts = {path.name: path.read_text() for path in (FOLDER / "js").glob("*.js")}
    assert preloaded == set(scripts)
    for text in scripts.values():
        assert set(re.findall(r'from "\./([\w.]+)"', text)) <= preloaded
