"""The runbook has an entry for each alert and each complaint, and the documents name commands that exist."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from app.cli.main import cli
from tests.support.beacon_server import ROOT

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
CLI = sorted((ROOT / "app" / "cli").glob("*.py"))
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("backup", "deployment", "runbook", "upgrading")),
]
BEACON = re.compile(r"^(?:sudo )?(?:\S*/)?beacon$")


def entries() -> dict[str, str]:
    """The text below each heading of the third level."""
    return dict(re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", RUNBOOK, re.MULTILINE))


def alerts() -> list[str]:
    groups = yaml.safe_load((ROOT / "deploy/monitoring/prometheus-rules.yaml").read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def constants(node: ast.AST) -> str:
    return " ".join(str(one.value) for one in ast.walk(node) if isinstance(one, ast.Constant))


def called(module: ast.Module, function: ast.FunctionDef) -> str:
    """The texts of the functions of the module that it calls."""
    names = {getattr(node.func, "id", "") for node in ast.walk(function) if isinstance(node, ast.Call)}
    return " ".join(constants(one) for one in module.body if isinstance(one, ast.FunctionDef) and one.name in names)


def complaints(path: Path) -> Iterator[tuple[str, str]]:
    """The subject of each finding that may fail, and the texts of what makes it: `Finding(subject, ok, text)`, or
    `return False, text` for findings that are put together elsewhere. A text may come from another function."""
    module = ast.parse(path.read_text())
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                subject, *rest = node.args
                if isinstance(subject, ast.Constant) and len(rest) == 2 and constants(rest[0]) != "True":
                    yield str(subject.value), constants(function) + called(module, function)
            returned = node.value if isinstance(node, ast.Return) else None
            if isinstance(returned, ast.Tuple) and constants(returned.elts[0]) == "False":
                yield "stream" if path.stem == "outside_stream" else "flags", constants(function)


def test_each_alert_has_its_entry_in_order() -> None:
    assert [name for name in entries() if name.startswith("Beacon")] == alerts()
    for name in alerts():
        assert [word for word in ("**Means**", "**Look**", "**Do**") if word not in entries()[name]] == [], name


@pytest.mark.parametrize("path", CLI, ids=lambda path: path.stem)
def test_each_complaint_of_the_doctor_is_explained(path: Path) -> None:
    """A sentence in its entry is part of what the doctor prints."""
    unexplained = []
    for subject, said in complaints(path):
        sentences = re.findall(r"`([^`]+)`", entries().get(f"doctor: {subject}", ""))
        if not any(sentence in said for sentence in sentences):
            unexplained.append(f"{subject}: {said[:200]}")
    assert unexplained == []


def test_the_doctor_has_complaints() -> None:
    assert len({subject for path in CLI for subject, _ in complaints(path)}) > 10


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.exists()], ids=lambda path: path.name)
def test_the_documents_name_commands_that_there_are(path: Path) -> None:
    for words in beacon_commands(path.read_text()):
        command: click.Command = cli
        while isinstance(command, click.Group):
            if not words or words[0].startswith("-"):
                break
            name = words.pop(0)
            assert name in command.commands, f"{path.name}: beacon … {name}"
            command = command.commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--version", "--help"}
        assert used <= options, f"{path.name}: {command.name} {used - options}"


def beacon_commands(text: str) -> Iterator[list[str]]:
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\$\(|\)|\||&&|;", line):
                words = (
                    shlex.split(part, comments=True) if part.count('"') % 2 == 0 and "'" not in part else part.split()
                )
                places = [place for place, word in enumerate(words) if BEACON.match(word)]
                # Elsewhere in a line it is the command only if one of its commands follows.
                for place in places:
                    after = words[place + 1 :]
                    if place == 0 or words[place - 1] == "sudo" or (after and after[0] in cli.commands):
                        yield after
                        break


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.exists()], ids=lambda path: path.name)
def test_the_links_of_the_documents_lead_somewhere(path: Path) -> None:
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [name for name in linked if not (path.parent / name).exists()] == []
