"""gunicorn's settings as they are, with shorter times, and one blow for one worker at one step of a command.

`BEACON_BLOW` is `STEP:HOW`, such as `asked:kill`; `BEACON_BLOW_FILE` is made by the worker that is hit, so that the one
which comes after it is not.
"""

import os
import signal
from pathlib import Path

_real = Path(__file__).resolve().parents[2] / "gunicorn.conf.py"
exec(compile(_real.read_text(), str(_real), "exec"))  # noqa: S102 -- the hooks must be this module's own

from app.commands import accept, claims, execute, observe, runner, steps  # noqa: E402 -- after the patch

if os.environ.get("BEACON_TIMES") != "real":
    claims.LEASE_S = 3.0
    runner.RENEW_EVERY_S = 1.0
    execute.START_S = 3.0
    execute.CALL_S = dict.fromkeys(execute.CALL_S, 4.0)
    execute.SETTLE_S = 3.0
    observe.CONFIRM_S = 3.0
    observe.RECONCILED_S = 2.0

_step, _, _how = os.environ.get("BEACON_BLOW", "").partition(":")


def _strike():
    try:
        os.close(os.open(os.environ["BEACON_BLOW_FILE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL if _how == "kill" else signal.SIGSTOP)


def _struck_after(module, name, counts=lambda result: True):
    """`module.name`, and then the blow, if what it gave counts."""
    real = getattr(module, name)

    def struck(*args, **kwargs):
        result = real(*args, **kwargs)
        if counts(result):
            _strike()
        return result

    setattr(module, name, struck)


if _step == "accepted":
    _struck_after(accept, "_claim")
elif _step == "taken":
    _struck_after(claims, "take", lambda claim: claim is not None)
elif _step == "begun":
    _struck_after(steps, "begin")
elif _step == "asked":
    _struck_after(steps, "step", lambda asking: asking is not None)
elif _step == "acted":
    _struck_after(execute._Run, "_ask")
elif _step == "recorded":
    _struck_after(steps, "step", lambda asking: asking is None)
elif _step == "confirmed":
    _struck_after(steps, "confirm")
elif _step == "finished":
    _struck_after(steps, "finish")
