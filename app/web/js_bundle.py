"""Bundles JavaScript modules and style sheets in memory, one file each, and takes out comments and blanks.

Fifty small files compress a third worse than one, and each costs a request; docs/browser.md has the figures. Each
module becomes a function that returns its exports. tree-sitter reads the modules, so nothing here guesses where a
string or a comment ends. Names stay as they are, so that they can be found from an error message.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# Spaces without meaning in a style sheet, outside of strings. Before a colon they have one: `main :hover`.
_CSS_BLANKS = re.compile(r"""("[^"]*"|'[^']*')|\s*([{};,])\s*|(:)\s+""")

# What is copied as it stands: blanks inside have a meaning.
_ATOMS = frozenset({"string", "template_string", "regex"})


def bundle_script(folder: Path, entry: str) -> str:
    """Bundle the module `entry` and all its imports, each once and before its importers. Raises `ValueError`."""
    return "".join(link_modules(folder, entry).values())


def link_modules(folder: Path, entry: str) -> dict[str, str]:
    """What the bundle holds of `entry` and all its imports, by their paths, in the order in which they must run."""
    linked: dict[str, str] = {}
    _visit(folder, entry, linked, ())
    return linked


def minify_script(text: str) -> str:
    """A module without comments, indentation and the blanks that mean nothing; line ends stay."""
    return _compact(_parse(text, "module"))


def bundle_sheet(paths: Iterable[Path]) -> str:
    """Bundle the style sheets in this order. They contain no relative URLs."""
    return "".join(_CSS_BLANKS.sub(r"\1\2\3", _CSS_COMMENT.sub("", path.read_text())).strip() for path in paths)


@dataclass(frozen=True)
class Module:
    """A module by its path below the folder of the bundle: `connection/live.js`."""

    name: str
    root: Node

    def resolve(self, source: Node | None) -> str:
        """The path of another module, from the string that names it here."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.name), _text(source).strip("'\"")))


def _visit(folder: Path, name: str, linked: dict[str, str], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"{name} imports itself: {' → '.join([*above, name])}")
    if name in linked:
        return
    module = Module(name, _parse((folder / name).read_text(), name))
    for statement in module.root.children:
        if statement.type == "import_statement":
            _visit(folder, module.resolve(statement.child_by_field_name("source")), linked, (*above, name))
    linked[name] = _wrap_module(module)  # at once, because syntax trees take much memory


def _wrap_module(module: Module) -> str:
    exported: list[str] = []
    lines = [_link(module, statement, exported) for statement in module.root.children if statement.type != "comment"]
    body = "\n".join(filter(None, lines))
    return f"const {_variable(module.name)}=(()=>{{\n{body}\nreturn{{{','.join(exported)}}};\n}})();\n"


def _variable(name: str) -> str:
    """What the exports of a module are called in the bundle."""
    return "$" + name.removesuffix(".js").replace("/", "_")


def _link(module: Module, statement: Node, exported: list[str]) -> str:
    """A statement of a module as it stands in the bundle; the names that it exports are added to `exported`."""
    if statement.type == "import_statement":
        return _import_to_const(module, statement)
    if statement.type != "export_statement":
        return _compact(statement, module)
    declaration = statement.child_by_field_name("declaration")
    if declaration is None or statement.child_by_field_name("value") or statement.children[1] != declaration:
        raise ValueError(f"{module.name}: cannot bundle {_text(statement)!r}")
    named = [declaration, *declaration.children]
    exported += [_text(name) for one in named if (name := one.child_by_field_name("name"))]
    return _compact(declaration, module)


def _import_to_const(module: Module, statement: Node) -> str:
    clause = next((child for child in statement.children if child.type == "import_clause"), None)
    if clause is None:
        return ""  # for its effects alone, and it has run
    if [child.type for child in clause.children] != ["named_imports"]:
        raise ValueError(f"{module.name}: cannot bundle {_text(statement)!r}")
    names = [one.children[::2] for one in clause.children[0].children if one.type == "import_specifier"]
    other = _variable(module.resolve(statement.child_by_field_name("source")))
    return f"const{{{','.join(':'.join(map(_text, pair)) for pair in names)}}}={other};"


def _compact(node: Node, module: Module | None = None) -> str:
    """The tokens below `node`; inside a bundle, `import("./other.js")` is relative to the bundle's folder."""
    parts: list[str] = []
    before: Node | None = None
    for token in _tokens(node):
        text = _text(token)
        if module and token.type == "string" and _is_dynamic_import(token):
            text = f'"./{module.resolve(token)}"'
        if before is not None:
            parts.append("\n" if token.start_point.row > before.end_point.row else _blank(parts[-1][-1], text[0]))
        parts.append(text)
        before = token
    return "".join(parts)


def _tokens(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.type == "comment":
            continue
        if one.children and one.type not in _ATOMS:
            waiting += reversed(one.children)
        elif one.end_byte > one.start_byte:
            yield one


def _blank(before: str, after: str) -> str:
    """What must stand between two tokens of a line: without it two words, or two signs, would be one."""
    return " " if (_is_word(before) and _is_word(after)) or (before == after and before in "+-/") else ""


def _is_word(char: str) -> bool:
    return char.isalnum() or char in "_$#"


def _is_dynamic_import(string: Node) -> bool:
    call = string.parent.parent if string.parent and string.parent.type == "arguments" else None
    function = call.child_by_field_name("function") if call else None
    return function is not None and function.type == "import"


def _parse(text: str, name: str) -> Node:
    root = _parser().parse(text.encode()).root_node
    if root.has_error:
        raise ValueError(f"{name} cannot be read as JavaScript")
    return root


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_javascript.language()))


def _text(node: Node | None) -> str:
    return (node.text or b"").decode() if node else ""
