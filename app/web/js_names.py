"""Finds what each name in a JavaScript module refers to, and gives the bindings short names.

A binding is what a declaration, a parameter or an import makes. Names that no module declares, such as `document`, are
the browser's and stay, as do names of properties. Two bindings may get the same name where no code can see both.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from tree_sitter import Node

_FUNCTIONS = frozenset(
    {
        "function_declaration",
        "function_expression",
        "generator_function_declaration",
        "generator_function",
        "arrow_function",
        "method_definition",
    }
)
_BLOCKS = frozenset(
    {
        "statement_block",
        "for_statement",
        "for_in_statement",
        "switch_body",
        "catch_clause",
        "class",
        "class_declaration",
        "class_static_block",
    }
)
_DECLARATIONS = frozenset({"function_declaration", "generator_function_declaration", "class_declaration"})
_SHORTHANDS = frozenset({"shorthand_property_identifier", "shorthand_property_identifier_pattern"})
_NAMES = frozenset({"identifier", *_SHORTHANDS})
# They can reach a binding by a name that stands in a string.
_FORBIDDEN = frozenset({"eval", "with_statement"})

# By their frequency in code: what is frequent anyway compresses best.
_LETTERS = "etnrisouaflchpdvmgybwESxTNCkLAOMDPHBjFIqURzWXV$JKQGYZ_"
_RESERVED = frozenset({"as", "do", "if", "in", "is", "of"})


@dataclass(eq=False)
class Binding:
    name: str
    scope: "Scope"
    short: str = ""  # until it has been named
    uses: int = 0


@dataclass(eq=False)
class Scope:
    """`seen` are the bindings and the browser's names that code in this scope or below it refers to."""

    parent: "Scope | None"
    is_function: bool
    bindings: dict[str, Binding] = field(default_factory=dict)
    children: list["Scope"] = field(default_factory=list)
    seen: set[Binding | str] = field(default_factory=set)

    def add_child(self, *, is_function: bool) -> "Scope":
        self.children.append(Scope(self, is_function))
        return self.children[-1]

    def declare(self, name: str) -> None:
        self.bindings.setdefault(name, Binding(name, self))

    def find(self, name: str) -> Binding | None:
        return next((scope.bindings[name] for scope in self.upwards() if name in scope.bindings), None)

    def upwards(self) -> Iterator["Scope"]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    @property
    def globals(self) -> set[str]:
        return {one for one in self.seen if isinstance(one, str)}


@dataclass(frozen=True)
class Name:
    """A place in the text that names a binding; a shorthand, as in `{ name }`, names a property too."""

    binding: Binding
    is_shorthand: bool

    def __str__(self) -> str:
        return f"{self.binding.name}:{self.binding.short}" if self.is_shorthand else self.binding.short


def find_names(root: Node, module: Scope) -> dict[int, Name]:
    """Every place that names a binding, by its first byte. `module` already holds what the module imports."""
    uses: list[tuple[Node, Scope]] = []
    _walk(root, module, uses)
    found = {}
    for node, scope in uses:
        binding = scope.find(_text(node))
        _mark_seen(scope, binding, _text(node))
        if binding:
            binding.uses += 1
            found[node.start_byte] = Name(binding, node.type in _SHORTHANDS)
    return found


def _mark_seen(scope: Scope, binding: Binding | None, name: str) -> None:
    for one in scope.upwards():
        one.seen.add(binding or name)
        if binding and one is binding.scope:
            return


def _walk(node: Node, scope: Scope, uses: list[tuple[Node, Scope]]) -> None:
    if node.type in _FORBIDDEN or (node.type == "identifier" and _text(node) in _FORBIDDEN):
        raise ValueError(f"{_text(node)!r} hides which names it uses")
    if node.type in _NAMES:
        uses.append((node, scope))
    if node.type == "import_statement":
        return
    outer, inner = scope, _enter(node, scope)
    own_name = node.child_by_field_name("name") if node.type in _DECLARATIONS else None
    for child in node.named_children:
        _walk(child, outer if child == own_name else inner, uses)


def _enter(node: Node, scope: Scope) -> Scope:
    """Return the scope of the code inside `node`, with the names that the node declares."""
    if node.type in _DECLARATIONS:
        _declare(node.child_by_field_name("name"), scope)
    if node.type == "variable_declarator":
        is_var = node.parent is not None and node.parent.type == "variable_declaration"
        target = next(one for one in scope.upwards() if one.is_function) if is_var else scope
        _declare(node.child_by_field_name("name"), target)
    if node.type in _FUNCTIONS:
        return _enter_function(node, scope)
    is_body = node.type == "statement_block" and node.parent is not None and node.parent.type in _FUNCTIONS
    return scope if is_body or node.type not in _BLOCKS else _enter_block(node, scope)


def _enter_function(node: Node, scope: Scope) -> Scope:
    """Parameters and body are one scope here; a default value must not mean what the body declares differently."""
    inner = scope.add_child(is_function=True)
    if node.type.endswith(("function_expression", "generator_function")):
        _declare(node.child_by_field_name("name"), inner)
    _declare(node.child_by_field_name("parameters") or node.child_by_field_name("parameter"), inner)
    return inner


def _enter_block(node: Node, scope: Scope) -> Scope:
    inner = scope.add_child(is_function=node.type == "class_static_block")
    if node.type == "class":
        _declare(node.child_by_field_name("name"), inner)
    if node.type == "catch_clause":
        _declare(node.child_by_field_name("parameter"), inner)
    if node.type == "for_in_statement" and node.child_by_field_name("kind"):
        is_var = _text(node.child_by_field_name("kind")) == "var"
        target = next(one for one in scope.upwards() if one.is_function) if is_var else inner
        _declare(node.child_by_field_name("left"), target)
    return inner


def _declare(pattern: Node | None, scope: Scope) -> None:
    if pattern is None or pattern.type == "comment":
        return
    if pattern.type in _NAMES:
        scope.declare(_text(pattern))
    elif pattern.type in {"object_pattern", "array_pattern", "rest_pattern", "formal_parameters"}:
        for child in pattern.named_children:
            _declare(child, scope)
    elif pattern.type == "pair_pattern":
        _declare(pattern.child_by_field_name("value"), scope)
    elif pattern.type in {"assignment_pattern", "object_assignment_pattern"}:
        _declare(pattern.child_by_field_name("left"), scope)
    else:
        raise ValueError(f"cannot tell what {_text(pattern)!r} declares")


def shorten_names(modules: Iterable[Scope]) -> None:
    """Name the bindings of modules that will stand in one file, where all see what each of them declares at its top."""
    modules = list(modules)
    top = [binding for module in modules for binding in module.bindings.values() if binding.scope is module]
    _name(sorted(top, key=lambda binding: -binding.uses), {name for module in modules for name in module.globals})
    for module in modules:
        for scope in module.children:
            _name_below(scope)


def _name_below(scope: Scope) -> None:
    taken = {one if isinstance(one, str) else one.short for one in scope.seen}
    _name(scope.bindings.values(), taken)
    for child in scope.children:
        _name_below(child)


def _name(bindings: Iterable[Binding], taken: set[str]) -> None:
    short = short_names(lambda name: name in taken)
    for binding in bindings:
        binding.short = next(short)


def short_names(is_taken: Callable[[str], bool] = lambda _: False) -> Iterator[str]:
    for number in count():
        name = _letters(number)
        if name not in _RESERVED and not is_taken(name):
            yield name


def _letters(number: int) -> str:
    """All words of one letter, then of two, and so on."""
    before, last = divmod(number, len(_LETTERS))
    return (_letters(before - 1) if before else "") + _LETTERS[last]


def _text(node: Node | None) -> str:
    return (node.text or b"").decode() if node else ""
