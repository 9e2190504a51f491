from pathlib import Path

from flask import Flask

from app.assets import Assets


def test_the_build_changes_with_a_files_content_and_name(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("one")
    first = Assets(tmp_path).build
    assert Assets(tmp_path).build == first
    (tmp_path / "a.js").write_text("two")
    second = Assets(tmp_path).build
    (tmp_path / "a.js").rename(tmp_path / "b.js")
    assert len({first, second, Assets(tmp_path).build}) == 3


def test_a_file_of_this_build_may_be_kept_for_ever(bare: Flask) -> None:
    address = bare.jinja_env.globals["asset"]("js/main.js")
    response = bare.test_client().get(address)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.mimetype == "text/javascript"


def test_a_page_of_another_build_gets_its_files_but_may_not_keep_them(bare: Flask) -> None:
    response = bare.test_client().get("/static/0.0.1-00000000/js/main.js")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-cache"


def test_nothing_outside_the_folder_is_served(bare: Flask) -> None:
    assert bare.test_client().get("/static/x/../../pyproject.toml").status_code == 404
    assert bare.test_client().get("/static/x/%2e%2e/%2e%2e/pyproject.toml").status_code == 404


def test_every_module_that_a_script_imports_is_there_and_preloaded(bare: Flask) -> None:
    modules = bare.jinja_env.globals["script_modules"]()
    client = bare.test_client()
    assert any(module.endswith("/js/live.js") for module in modules)
    assert all(client.get(module).status_code == 200 for module in modules)
