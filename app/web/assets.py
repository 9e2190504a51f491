"""Serves static files under `/static/<build>/`, where the build name changes with their content.

Browsers may therefore cache them for ever. Pages load one script and one style sheet, which are built from the
files of the folder; what the script loads later comes in one file with its imports. JavaScript modules import each
other by relative paths, so a module that is loaded by itself stays within its build without an import map.
"""

import gzip
import hashlib
import mimetypes
from functools import cached_property
from pathlib import Path

from flask import Flask, Response, request, send_from_directory

from app.components import components
from app.infra import resources
from app.infra.version import VERSION
from app.web import js_bundle
from app.web.compression import takes_gzip

STATIC_FOLDER = resources.STATIC
CACHE_MAX_AGE_S = 31_536_000
GZIP_LEVEL = 9  # files are compressed once per worker
SCRIPT, SHEET = "js/app.js", "css/all.css"
MAIN = "main.js"
BOUNDARY = "telemetry/error_boundary.js"  # stands by itself, because it must work when the bundle cannot even be loaded
VENDORED_SCRIPTS = "vendor/htmx-*/*.min.js"  # htmx first, because its extensions register themselves there
MODULES = "js/"  # scripts of our own; those in `vendor/` are served as they came
LEADING_SHEETS = ("tokens", "base")  # the other sheets follow sorted by name; their order does not matter
TEXT_SUFFIXES = frozenset({".css", ".js", ".svg", ".json", ".html"})


class Assets:
    """The static files, as they are when the application is created."""

    def __init__(self, folder: Path = STATIC_FOLDER) -> None:
        self.folder = folder
        self._compressed: dict[str, bytes] = {}
        self._scripts: dict[str, bytes] = {}  # minified once per worker

    @cached_property
    def build(self) -> str:
        """The version and a hash over the names and contents of all files: `0.2.0-3f2a91c4`."""
        digest = hashlib.sha256(Path(js_bundle.__file__).read_bytes())
        for path in self._files():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
        return f"{VERSION}-{digest.hexdigest()[:8]}"

    def address(self, name: str) -> str:
        return f"/static/{self.build}/{name}"

    def content(self, name: str) -> bytes | None:
        """A text file, bundled, minified or as it is in the folder; None if there is no such text file."""
        if name in self._bundles:
            return self._bundles[name]
        if self.folder / name not in self._texts:
            return None
        return self._minified(name) if name.startswith(MODULES) else (self.folder / name).read_bytes()

    def compressed(self, name: str) -> bytes | None:
        """The gzipped text file, compressed on first use."""
        if name not in self._compressed:
            content = self.content(name)
            if content is None:
                return None
            self._compressed[name] = gzip.compress(content, GZIP_LEVEL, mtime=0)
        return self._compressed[name]

    def _minified(self, name: str) -> bytes:
        if name not in self._scripts:
            self._scripts[name] = js_bundle.minify_script((self.folder / name).read_text()).encode()
        return self._scripts[name]

    @cached_property
    def _bundles(self) -> dict[str, bytes]:
        return {SHEET: self._sheet(), **self._scripts_with_imports()}

    def _sheet(self) -> bytes:
        sheets = {path.stem: path for path in self._files("css/*.css")}
        leading = [sheets.pop(name) for name in LEADING_SHEETS if name in sheets]
        return js_bundle.bundle_sheet([*leading, *sheets.values()]).encode()

    def _scripts_with_imports(self) -> dict[str, bytes]:
        """The vendored scripts stand as they came before ours, since together they compress better than apart."""
        folder = self.folder / MODULES
        script = js_bundle.bundle_script(folder, MAIN)
        vendored = sorted(self._files(VENDORED_SCRIPTS), key=lambda path: (not path.stem.startswith("htmx"), path))
        whole = [*(path.read_text() for path in vendored), js_bundle.enclose(script)]
        entries = [BOUNDARY, *js_bundle.late_entries(script)]
        bundles = {MODULES + entry: js_bundle.bundle_script(folder, entry).encode() for entry in entries}
        return {SCRIPT: ";\n".join(whole).encode(), **bundles}

    @cached_property
    def _texts(self) -> frozenset[Path]:
        return frozenset(path for path in self._files() if path.suffix in TEXT_SUFFIXES)

    def _files(self, pattern: str = "**/*") -> list[Path]:
        return sorted(path for path in self.folder.glob(pattern) if path.is_file())


def init_app(app: Flask, folder: Path = STATIC_FOLDER) -> None:
    """Serve the static files; templates get their URLs with `asset(name)`."""
    assets = Assets(folder)
    components(app).assets = assets
    app.jinja_env.globals.update(asset=assets.address, build=assets.build)
    app.add_url_rule("/static/<build>/<path:name>", "assets.file", send_file)  # one route needs no blueprint


def build_name() -> str:
    """The build name of the current application, as in the `hello` frame."""
    assets = components().assets
    return assets.build


def send_file(build: str, name: str) -> Response:
    """Serve a file. A page of another build gets this build's content, so it must not cache it."""
    assets = components().assets
    packed = takes_gzip()
    content = assets.compressed(name) if packed else assets.content(name)
    if content is None:
        response = send_from_directory(assets.folder, name)
    else:
        response = _content_response(name, content, "gzip" if packed else "")
    response.vary.add("Accept-Encoding")
    current = build == assets.build
    response.headers["Cache-Control"] = f"public, max-age={CACHE_MAX_AGE_S}, immutable" if current else "no-cache"
    return response


def _content_response(name: str, content: bytes, encoding: str) -> Response:
    """A response whose ETag covers the encoded bytes, so compressed and plain responses differ."""
    response = Response(content, mimetype=mimetypes.guess_type(name)[0])
    if encoding:
        response.headers["Content-Encoding"] = encoding
    response.set_etag(hashlib.sha256(content).hexdigest()[:32])
    return response.make_conditional(request)  # type: ignore[return-value]  # it is declared to return its base
