"""Bundles JavaScript modules and style sheets in memory, one file each, without comments, blanks and long names.

Fifty small files compress a third worse than one, and each costs a request; docs/browser.md has the figures. The
modules of a bundle share one scope, in which `js_names` gives each binding a name of its own. tree-sitter reads the
modules, so nothing here guesses where a string or a comment ends.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

from app.web.js_names import Binding, Name, Scope, find_names, short_names, shorten_names

_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# Spaces and last semicolons without meaning in a style sheet, outside of strings. Before a colon a space has one, as in
# `main :hover`.
_CSS_BLANKS = re.compile(r"""("[^"]*"|'[^']*')|\s*;?\s*(\})\s*|\s*([{;,>])\s*|(:)\s+""")

_LATE_IMPORT = re.compile(r'\bimport\("\./([\w/.]+)"\)')

# What is copied as it stands: blanks inside have a meaning.
_ATOMS = frozenset({"string", "template_string", "regex"})


def bundle_script(folder: Path, entry: str) -> str:
    """Bundle the module `entry` and all its imports, each once and before its importers. Raises `ValueError`.

    The bundle exports what `entry` exports; without exports it is an entry of a page.
    """
    modules = link_modules(folder, entry)
    shorten_names(module.scope for module in modules.values())
    exports = ",".join(f"{binding.short} as {name}" for name, binding in modules[entry].exports.items())
    ending = f"export{{{exports}}};\n" if exports else ""
    return "".join([*map(str, modules.values()), ending])


def enclose(script: str) -> str:
    """A bundle as a script that is no module, so that it can stand in one file with others."""
    return f'(()=>{{"use strict";\n{script}}})();\n'


def late_entries(script: str) -> list[str]:
    """The modules that a bundle loads later, each of which is the entry of a bundle of its own."""
    return sorted(set(_LATE_IMPORT.findall(script)))


def link_modules(folder: Path, entry: str) -> dict[str, "Module"]:
    """The module `entry` and all its imports, by their paths, in the order in which they must run."""
    linked: dict[str, Module] = {}
    _visit(folder, entry, linked, ())
    return linked


def minify_script(text: str) -> str:
    """A module without comments, indentation and the blanks that mean nothing; line ends stay."""
    return "".join(map(str, _compact(_parse(text, "module"), {})))


def bundle_sheet(paths: Iterable[Path]) -> str:
    """Bundle the style sheets in this order. They contain no relative URLs."""
    bare = (_CSS_BLANKS.sub(r"\1\2\3\4", _CSS_COMMENT.sub("", path.read_text())).strip() for path in paths)
    return "".join(bare)


@dataclass
class Module:
    """A module by its path below the folder of the bundle, `connection/live.js`, with its text in pieces.

    Its syntax tree is not kept, because it takes much memory.
    """

    name: str
    scope: Scope = field(default_factory=lambda: Scope(None, is_function=True))
    exports: dict[str, Binding] = field(default_factory=dict)
    pieces: list[str | Name] = field(default_factory=list)

    def resolve(self, source: Node | None) -> str:
        """The path of another module, from the string that names it here."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.name), _text(source).strip("'\"")))

    def __str__(self) -> str:
        return "".join(map(str, self.pieces))


def _visit(folder: Path, name: str, linked: dict[str, Module], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"{name} imports itself: {' → '.join([*above, name])}")
    if name in linked:
        return
    module = Module(name)
    root = _parse((folder / name).read_text(), name)
    for statement in root.children:
        if statement.type == "import_statement":
            other = module.resolve(statement.child_by_field_name("source"))
            _visit(folder, other, linked, (*above, name))
            _import(module, statement, linked[other])
    _link(module, root)
    linked[name] = module


def _import(module: Module, statement: Node, other: Module) -> None:
    """Let the names that the statement imports mean the bindings of the other module."""
    clause = next((child for child in statement.children if child.type == "import_clause"), None)
    if clause is None:
        return  # for its effects alone
    if [child.type for child in clause.children] != ["named_imports"]:
        raise ValueError(f"{module.name}: cannot bundle {_text(statement)!r}")
    for one in clause.children[0].named_children:
        if one.type == "import_specifier":
            names = [_text(name) for name in one.named_children]
            if names[0] not in other.exports:
                raise ValueError(f"{module.name}: {other.name} does not export {names[0]!r}")
            module.scope.bindings[names[-1]] = other.exports[names[0]]


def _link(module: Module, root: Node) -> None:
    try:
        names = find_names(root, module.scope)
    except ValueError as error:
        raise ValueError(f"{module.name}: {error}") from error
    places: dict[int, str | Name] = {**names, **_shorten_private(root)}
    for statement in root.children:
        if statement.type in {"import_statement", "comment"}:
            continue
        if statement.type == "export_statement":
            statement = _export(module, statement)  # noqa: PLW2901  # what stands in the bundle instead of it
        module.pieces += [*_compact(statement, places, module), "\n"]


def _export(module: Module, statement: Node) -> Node:
    declaration = statement.child_by_field_name("declaration")
    if declaration is None or statement.child_by_field_name("value") or statement.children[1] != declaration:
        raise ValueError(f"{module.name}: cannot bundle {_text(statement)!r}")
    for one in (declaration, *declaration.children):
        if name := one.child_by_field_name("name"):
            module.exports[_text(name)] = module.scope.bindings[_text(name)]
    return declaration


def _shorten_private(root: Node) -> dict[int, str]:
    """The private members of the module's classes, such as `#model`, under short names, by their first bytes."""
    places = [node for node in _tokens(root, atoms=frozenset()) if node.type == "private_property_identifier"]
    short = short_names()
    names = {name: f"#{next(short)}" for name in dict.fromkeys(map(_text, places))}
    return {node.start_byte: names[_text(node)] for node in places}


def _compact(node: Node, names: Mapping[int, str | Name], module: Module | None = None) -> Iterator[str | Name]:
    """The tokens below `node`; inside a bundle, `import("./other.js")` is relative to the bundle's folder."""
    before: Node | None = None
    for token in _tokens(node):
        if before is not None:
            yield _between(before, token)
        if module and token.type == "string" and _is_dynamic_import(token):
            yield f'"./{module.resolve(token)}"'
        elif token.type == "template_string":
            yield from _template(token, names)
        else:
            yield names.get(token.start_byte) or _text(token)
        before = token


def _template(template: Node, names: Mapping[int, str | Name]) -> Iterator[str | Name]:
    """A template string as it stands, since its blanks have a meaning, with other names in it."""
    text, at = template.text or b"", 0
    for token in _tokens(template, atoms=frozenset()):
        if name := names.get(token.start_byte):
            start = token.start_byte - template.start_byte
            yield text[at:start].decode()
            yield name
            at = start + token.end_byte - token.start_byte
    yield text[at:].decode()


def _tokens(node: Node, atoms: frozenset[str] = _ATOMS) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.type == "comment":
            continue
        if one.children and one.type not in atoms:
            waiting += reversed(one.children)
        elif one.end_byte > one.start_byte:
            yield one


def _between(before: Node, token: Node) -> str:
    """The end of a line stays where it may end a statement."""
    last, first = _text(before)[-1], _text(token)[0]
    if token.start_point.row > before.end_point.row:
        return "" if last in ";{," else "\n"
    return _blank(last, first)


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
