"""The build name and the `/static/<build>/` addresses.

A file's address changes with its content, so browsers may keep it for ever; JavaScript modules import each
other by relative paths and so stay within one build without an import map.
"""

import hashlib
from functools import cached_property
from pathlib import Path

from flask import Blueprint, Flask, Response, current_app, send_from_directory

from app.version import VERSION

FOLDER = Path(__file__).resolve().parent.parent / "static"
CACHE_S = 31_536_000

bp = Blueprint("assets", __name__)


class Assets:
    """The static files as they are when the application is built."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    @cached_property
    def build(self) -> str:
        """`0.1.0-3f2a91c4`: the version, and a hash over every file's name and content."""
        digest = hashlib.sha256()
        for path in self._files():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
        return f"{VERSION}-{digest.hexdigest()[:8]}"

    def address(self, name: str) -> str:
        return f"/static/{self.build}/{name}"

    @cached_property
    def script_modules(self) -> list[str]:
        """Every module of the page: fetched side by side instead of one import after the other."""
        return [self.address(path.relative_to(self.folder).as_posix()) for path in self._files("js/*.js")]

    def _files(self, pattern: str = "**/*") -> list[Path]:
        return sorted(path for path in self.folder.glob(pattern) if path.is_file())


def init_app(app: Flask, folder: Path = FOLDER) -> None:
    """Serve the static files; `asset(name)` and `script_modules()` in templates give their addresses."""
    assets = Assets(folder)
    app.extensions["beacon_assets"] = assets
    app.jinja_env.globals.update(asset=assets.address, script_modules=lambda: assets.script_modules, build=assets.build)
    app.register_blueprint(bp)


def build_name() -> str:
    """The build of the current application, as `hello` names it."""
    assets: Assets = current_app.extensions["beacon_assets"]
    return assets.build


@bp.get("/static/<build>/<path:name>")
def file(build: str, name: str) -> Response:
    """A page of another build still gets its files, but not for ever: they are this build's content."""
    assets: Assets = current_app.extensions["beacon_assets"]
    response = send_from_directory(assets.folder, name)
    current = build == assets.build
    response.headers["Cache-Control"] = f"public, max-age={CACHE_S}, immutable" if current else "no-cache"
    return response
