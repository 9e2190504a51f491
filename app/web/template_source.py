"""Takes the indentation out of templates when they are compiled, since every page and every fragment would carry it."""

import re

from flask import Flask
from jinja2.ext import Extension

_INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)


class Unindented(Extension):
    """Line ends stay, and with them the numbers of the lines and the space between two words."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002  # Jinja's
        return _INDENTATION.sub("", source)


def init_app(app: Flask) -> None:
    app.jinja_env.add_extension(Unindented)
