"""docs/sources.md and the page of each kind are true: their files are read, the example kind is installed and watched,
and their tables name what there is."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.db import write
from app.infra.lease import Lease
from app.reconciliation import registry, service_form
from app.reconciliation.explanations import EventExplainer
from app.reconciliation.observer import ServiceObserver
from app.sources import kinds
from app.sources.protocol import ACTION_NAMES, VIEWS
from app.sources.service_config import create_source, parse_entry
from app.sources.toml_file import parse_services
from tests.reconciliation.desk import Book

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "sources.md").read_text()


def block(language: str, holding: str, page: str = PAGE) -> str:
    [found] = [text for text in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) if holding in text]
    return found


def page_of(kind: str) -> str:
    return (DOCS / "sources" / f"{kind}.md").read_text()


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The kind of the page, installed as a package would be; the folder that it watches."""
    site = tmp_path / "site"
    about = site / "spool-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "spool.py").write_text(block("python", "class SpoolSource"))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: spool\nVersion: 1.0\n")
    group, point = re.findall(r'entry-points\."(.+)"\]\n(.+)\n', block("toml", "entry-points"))[0]
    (about / "entry_points.txt").write_text(f"[{group}]\n{point.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(str(site))
    _forget()
    folder = tmp_path / "jobs"
    for state in ("queued", "running", "done"):
        (folder / state).mkdir(parents=True)
    yield folder
    sys.modules.pop("spool", None)
    _forget()


def _forget() -> None:
    for kept in (kinds.get_kind, kinds._load_own, kinds._load_plugins):
        kept.cache_clear()


def test_every_kind_has_a_page_and_no_page_is_of_another() -> None:
    assert {path.stem for path in (DOCS / "sources").iterdir()} == set(kinds.OWN_KINDS)


@pytest.mark.parametrize("kind", kinds.OWN_KINDS)
def test_the_file_of_the_page_can_be_used(kind: str) -> None:
    assert [entry.kind for entry in parse_services(block("toml", "[[service]]", page_of(kind)))] == [kind]


def test_the_kind_of_the_page_is_installed_watched_and_names_what_vanished(cast: Flask, spool: Path) -> None:
    for job_id in ("a", "b", "c"):
        (spool / "queued" / job_id).touch()
    with cast.app_context():
        with write() as session:
            registry.add(session, id="files", name="Files", kind="spool", url=f"file://{spool}")
        lease = Lease()
        assert lease.try_acquire()
        observer = ServiceObserver(lease, 5.0, [EventExplainer()], second_snapshot_after_s=0)
        [service] = registry.SourceRegistry(10).list_watched()
        assert observer.observe(service).answered
        book = Book("files")
        assert (book.told["status"], book.known) == ("verified", dict.fromkeys("abc", "queued"))
        (spool / "queued" / "a").rename(spool / "done" / "a")
        (spool / "queued" / "b").unlink()
        assert observer.observe(service).answered
        assert (book.told["status"], book.items) == ("discrepancy", {"b": "missing"})
        assert book.known == {"c": "queued"}


def test_its_form_makes_itself_from_its_options(spool: Path) -> None:
    fields = {field.name: field for field in service_form.build_fields(kinds.get_kind("spool"), {}, {}, is_new=True)}
    assert (fields["slow_after_s"].shape, fields["slow_after_s"].label) == ("number", "Slow after (seconds)")
    assert parse_entry({"id": "files", "kind": "spool", "url": "file:///x", "slow_after_s": "60"}).options


@pytest.mark.parametrize("kind", kinds.OWN_KINDS)
def test_every_key_of_a_kind_stands_in_its_table(kind: str) -> None:
    keys = "\n".join(line for line in page_of(kind).splitlines() if line.startswith("|"))
    assert [name for name in kinds.get_kind(kind).options.model_fields if f"`{name}`" not in keys] == []


@pytest.mark.parametrize("kind", kinds.OWN_KINDS)
def test_the_table_says_what_a_kind_can_do(kind: str) -> None:
    chosen = kinds.get_kind(kind)
    able = create_source(kind, chosen.check_url(chosen.url_example), {}, None, 10).capabilities
    cells = ["no" if able.why_not(what) else "yes" for what in (*ACTION_NAMES, *VIEWS)]
    assert f"| {' | '.join((*ACTION_NAMES, *VIEWS))} |\n|{'---|' * 8}\n| {' | '.join(cells)} |" in page_of(kind)
