"""Where Beacon's own files are: at the top level of a checkout, or in `app/resources/` of an installed package.

pyproject.toml copies them there when it builds a wheel.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_IN_WHEEL = _PACKAGE / "resources"
IS_CHECKOUT = not _IN_WHEEL.is_dir()
# The folder from which `app` and `demo` are imported.
IMPORT_FOLDER = _PACKAGE.parent
ROOT = IMPORT_FOLDER if IS_CHECKOUT else _IN_WHEEL
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"
MIGRATIONS = ROOT / "migrations"
GUNICORN_CONFIG = ROOT / "gunicorn.conf.py"
