"""gunicorn's settings as they are, with the times and blows of command_blows.py."""

from pathlib import Path

_real = Path(__file__).resolve().parents[2] / "gunicorn.conf.py"
exec(compile(_real.read_text(), str(_real), "exec"))  # noqa: S102 -- the hooks must be this module's own

from tests.live import command_blows  # noqa: E402, F401 -- after the patch
