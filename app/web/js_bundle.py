"""What the browser gets of the modules and sheets: one file of each, without comments. Nothing is written anywhere.

The sources stay as they are written, one file a matter; forty of them compress half as well as one, and each is a
request. A module becomes a function that returns its exports; that is all there is to linking. No cleverness with
names: whoever reads an error finds them as they were.
"""

import re
from collections.abc import Iterable
from pathlib import Path

# Whole lines, types, and what follows a statement: what looks like a comment inside a string or a pattern stays. With a
# quote in it, it might be the inside of a text.
_BLOCK = re.compile(r"^[ \t]*/\*.*?\*/[ \t]*\n", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^[ \t]*//.*\n", re.MULTILINE)
_TYPE = re.compile(r"/\*\* @(?:type|param) [^*]*\*/ ")
_TRAILING = re.compile(r"(?<=[;{},(\[)]) +//(?:[^'\"`\n]|\b'\b)*$", re.MULTILINE)
_INDENT = re.compile(r"^[ \t]+|\n(?=\n)", re.MULTILINE)
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# Blanks that mean nothing in a sheet, outside of strings. Before a colon they do: `main :hover`.
_CSS_BLANKS = re.compile(r"""("[^"]*"|'[^']*')|\s*([{};,])\s*|(:)\s+""")

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
_UNSUPPORTED = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def bundle_script(folder: Path, entry: str) -> str:
    """The module `entry` with all that it imports, each once and before whoever imports it. Raises `ValueError`."""
    return "".join(_wrap_module(name, folder) for name in order_modules(folder, entry))


def order_modules(folder: Path, entry: str) -> list[str]:
    """The names of what `entry` needs, in the order in which they have to run."""
    order: list[str] = []
    _visit(folder, entry, order, ())
    return order


def bundle_sheet(paths: Iterable[Path]) -> str:
    """The sheets in their order; what they say does not depend on where they lie."""
    return "".join(_CSS_BLANKS.sub(r"\1\2\3", _CSS_COMMENT.sub("", path.read_text())).strip() for path in paths)


def _visit(folder: Path, name: str, order: list[str], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"{name}.js imports itself: {' → '.join([*above, name])}")
    if name in order:
        return
    for _, imported in _IMPORT.findall((folder / f"{name}.js").read_text()):
        _visit(folder, imported, order, (*above, name))
    order.append(name)


def _wrap_module(name: str, folder: Path) -> str:
    text = (folder / f"{name}.js").read_text()
    exported = _EXPORT.findall(text)
    body = _EXPORT.sub("", _IMPORT.sub(_import_to_const, text))
    left = _UNSUPPORTED.search(body)
    if left:
        raise ValueError(f"{name}.js: cannot link {left[0]!r}")
    return (
        f"const {_module_variable(name)} = (() => {{\n{strip_module(body)}return {{ {', '.join(exported)} }};\n}})();\n"
    )


def _import_to_const(found: re.Match[str]) -> str:
    names = re.sub(r"\s+as\s+", ": ", found[1] or "").strip().rstrip(",")
    return f"const {{ {names} }} = {_module_variable(found[2])};\n" if names else ""


def _module_variable(name: str) -> str:
    return f"${name.replace('-', '_')}"


def strip_module(text: str) -> str:
    """A module without its comments and blanks."""
    for comment in (_BLOCK, _LINE, _TYPE, _TRAILING):
        text = comment.sub("", text)
    return _INDENT.sub("", text)
