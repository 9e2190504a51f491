"""What every application makes anew and always alike, made once: compiled templates and SQL, the builders of addresses.

Tests make thousands of applications and hundreds of servers; this took more processor time than what they are about.
"""

from collections.abc import Callable
from typing import Any, cast

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import Engine
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.util import LRUCache
from werkzeug.routing import Rule

Builder = Callable[..., tuple[str, str]]


class CompiledTemplates(BytecodeCache):
    """In the memory of one process."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


def make_once(templates: BytecodeCache) -> None:
    """From here on, for all applications of this process."""
    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": templates}
    make = Rule._compile_builder
    made: dict[tuple[object, ...], Builder] = {}

    def builder(rule: Rule, append_unknown: bool = True) -> Builder:
        """A function of its rule's text and defaults alone: its rule comes in as an argument."""
        key = (rule.rule, *rule._trace, repr(rule.defaults), append_unknown)
        if key not in made:
            made[key] = make(rule, append_unknown)
        return made[key]

    Rule._compile_builder = cast(Any, builder)  # type: ignore[method-assign]
    _compile_sql_once()


def _compile_sql_once() -> None:
    """All of SQLite's are alike: the text of a statement depends on the dialect's kind and on nothing of its engine."""
    compiled: LRUCache[Any, Any] = LRUCache(2_000)
    Engine._compiled_cache = cast(Any, property(lambda _engine: compiled, lambda _engine, _its_own: None))
    SQLiteDialect.__hash__ = cast(Any, lambda dialect: hash(type(dialect)))  # type: ignore[method-assign]
    SQLiteDialect.__eq__ = cast(Any, lambda dialect, other: type(dialect) is type(other))  # type: ignore[method-assign]
