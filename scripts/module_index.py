"""`python -m scripts.module_index`: writes docs/modules.md, one line for each module, from its docstring."""

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "docs" / "modules.md"
HEAD = """# Modules

Made by `.venv/bin/python -m scripts.module_index` from the first sentence of each module; a test compares the two.
"""


def main() -> None:
    INDEX.write_text(render())


def render() -> str:
    modules = sorted(path.relative_to(ROOT) for path in (ROOT / "app").rglob("*.py"))
    folders = groupby(sorted(modules, key=lambda path: (path.parent, path)), key=lambda path: path.parent)
    return "\n".join([HEAD, *(line for folder, paths in folders for line in _section(folder, list(paths)))])


def _section(folder: Path, paths: list[Path]) -> Iterator[str]:
    yield f"## {folder}/"
    yield ""
    if (package := folder / "__init__.py") in paths:
        yield _first_sentence(package)
        yield ""
    modules = [path for path in paths if path.name != "__init__.py"]
    if modules:
        yield "| module | what it is for |"
        yield "|---|---|"
        yield from (f"| `{path.name}` | {_first_sentence(path).replace('|', chr(92) + '|')} |" for path in modules)
        yield ""


def _first_sentence(path: Path) -> str:
    """Of the docstring: up to the first full stop that ends a sentence, or its first paragraph."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    return paragraph.split(". ", 1)[0].rstrip(".") + "."


if __name__ == "__main__":
    main()
