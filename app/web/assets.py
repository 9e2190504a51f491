"""The build name and the `/static/<build>/` addresses.

A file's address changes with its content, so browsers may keep it for ever. Pages load one script and one sheet,
put together here from the files of the folder (`linking`); JavaScript modules import each other by relative paths
and so stay within one build without an import map, wherever one is loaded by itself.
"""

import gzip
import hashlib
import mimetypes
from functools import cached_property
from pathlib import Path

from flask import Blueprint, Flask, Response, current_app, request, send_from_directory

from app.infra.version import VERSION
from app.web import js_bundle
from app.web.compression import takes_gzip

STATIC_FOLDER = Path(__file__).resolve().parents[2] / "static"
CACHE_MAX_AGE_S = 31_536_000
GZIP_LEVEL = 9  # once for each file and worker
SCRIPT, SHEET = "js/app.js", "css/all.css"
BUNDLES = (SCRIPT, SHEET)
LEADING_SHEETS = ("tokens", "base")  # the other sheets follow by name: none counts on its place
TEXT_SUFFIXES = frozenset({".css", ".js", ".svg", ".json", ".html"})

bp = Blueprint("assets", __name__)


class Assets:
    """The static files as they are when the application is built."""

    def __init__(self, folder: Path = STATIC_FOLDER) -> None:
        self.folder = folder
        self._compressed: dict[str, bytes] = {}

    @cached_property
    def build(self) -> str:
        """`0.1.0-3f2a91c4`: the version, and a hash over every file's name and content."""
        digest = hashlib.sha256(Path(js_bundle.__file__).read_bytes())
        for path in self._files():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
        return f"{VERSION}-{digest.hexdigest()[:8]}"

    def address(self, name: str) -> str:
        return f"/static/{self.build}/{name}"

    def content(self, name: str) -> bytes | None:
        """A text as it is served: made of others, or as it lies in the folder; None where it is neither."""
        if name in BUNDLES:
            return self._bundles[name].encode()
        return (self.folder / name).read_bytes() if self.folder / name in self._texts else None

    def compressed(self, name: str) -> bytes | None:
        """The same, compressed once and for all."""
        if name not in self._compressed:
            content = self.content(name)
            if content is None:
                return None
            self._compressed[name] = gzip.compress(content, GZIP_LEVEL, mtime=0)
        return self._compressed[name]

    @cached_property
    def _bundles(self) -> dict[str, str]:
        sheets = sorted(self._files("css/*.css"), key=lambda path: (path.stem not in LEADING_SHEETS, path.stem))
        first = sorted(sheets[: len(LEADING_SHEETS)], key=lambda path: LEADING_SHEETS.index(path.stem))
        script = js_bundle.bundle_script(self.folder / "js", "main")
        return {SCRIPT: script, SHEET: js_bundle.bundle_sheet([*first, *sheets[len(LEADING_SHEETS) :]])}

    @cached_property
    def _texts(self) -> frozenset[Path]:
        return frozenset(path for path in self._files() if path.suffix in TEXT_SUFFIXES)

    def _files(self, pattern: str = "**/*") -> list[Path]:
        return sorted(path for path in self.folder.glob(pattern) if path.is_file())


def init_app(app: Flask, folder: Path = STATIC_FOLDER) -> None:
    """Serve the static files; `asset(name)` in templates gives their addresses."""
    assets = Assets(folder)
    app.extensions["beacon_assets"] = assets
    app.jinja_env.globals.update(asset=assets.address, build=assets.build)
    app.register_blueprint(bp)


def build_name() -> str:
    """The build of the current application, as `hello` names it."""
    assets: Assets = current_app.extensions["beacon_assets"]
    return assets.build


@bp.get("/static/<build>/<path:name>")
def file(build: str, name: str) -> Response:
    """A page of another build still gets its files, but not for ever: they are this build's content."""
    assets: Assets = current_app.extensions["beacon_assets"]
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
    """Its ETag is of these bytes: the same file uncompressed is another answer."""
    response = Response(content, mimetype=mimetypes.guess_type(name)[0])
    if encoding:
        response.headers["Content-Encoding"] = encoding
    response.set_etag(hashlib.sha256(content).hexdigest()[:32])
    return response.make_conditional(request)  # type: ignore[return-value]  # it is declared to return its base
