"""gunicorn's settings as they are, with reports of browsers that are written as often as quick_control.py looks."""

from pathlib import Path

_real = Path(__file__).resolve().parents[2] / "gunicorn.conf.py"
exec(compile(_real.read_text(), str(_real), "exec"))  # noqa: S102 -- the hooks must be this module's own

import app  # noqa: E402 -- after the patch

app.POLLS_FLUSH_EVERY_S = 0.5
