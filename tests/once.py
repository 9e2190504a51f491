"""What every application makes anew and always alike, made once: compiled templates and the builders of addresses.

Tests make thousands of applications and hundreds of servers; this took more processor time than what they are about.
"""

from collections.abc import Callable
from typing import Any, cast

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
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
