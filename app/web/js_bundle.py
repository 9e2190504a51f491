"""Bundles JavaScript modules and style sheets in memory, one file each, without comments.

Forty small files compress half as well as one, and each costs a request. Each module becomes a function that returns
its exports. Names stay as they are, so that they can be found from an error message.
"""

import re
from collections.abc import Iterable
from pathlib import Path

# Comments on lines of their own, type comments, and comments after a statement. What looks like a comment inside a
# string or a regular expression stays; so does a trailing comment with a quote, which might be inside a string.
_BLOCK = re.compile(r"^[ \t]*/\*.*?\*/[ \t]*\n", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^[ \t]*//.*\n", re.MULTILINE)
_TYPE = re.compile(r"/\*\* @(?:type|param) [^*]*\*/ ")
_TRAILING = re.compile(r"(?<=[;{},(\[)]) +//(?:[^'\"`\n]|\b'\b)*$", re.MULTILINE)
_INDENT = re.compile(r"^[ \t]+|\n(?=\n)", re.MULTILINE)
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# Spaces without meaning in a style sheet, outside of strings. Before a colon they have one: `main :hover`.
_CSS_BLANKS = re.compile(r"""("[^"]*"|'[^']*')|\s*([{};,])\s*|(:)\s+""")

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
_UNSUPPORTED = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def bundle_script(folder: Path, entry: str) -> str:
    """Bundle the module `entry` and all its imports, each once and before its importers. Raises `ValueError`."""
    return "".join(_wrap_module(name, folder) for name in order_modules(folder, entry))


def order_modules(folder: Path, entry: str) -> list[str]:
    """The names of `entry` and all its imports, in the order in which they must run."""
    order: list[str] = []
    _visit(folder, entry, order, ())
    return order


def bundle_sheet(paths: Iterable[Path]) -> str:
    """Bundle the style sheets in this order. They contain no relative URLs."""
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
    """A module without comments and indentation."""
    for comment in (_BLOCK, _LINE, _TYPE, _TRAILING):
        text = comment.sub("", text)
    return _INDENT.sub("", text)
