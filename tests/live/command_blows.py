"""Shorter times for commands, and a blow for one process at one step of a command.

The times of a real deployment are waited for by test_a_command_of_a_killed_worker_is_picked_up_in_time.

The file `BEACON_BLOW_FILE` holds `STEP:HOW`, such as `asked:kill`. The process that comes to this step takes the file
away before it is hit, so that no other one is. Background processes import this first; web workers by command_conf.py.
"""

import importlib
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

from app.commands import command_store, effects, executor, leases, runner, submit, verification
from app.commands.actions import ACTIONS

_blow = Path(os.environ["BEACON_BLOW_FILE"])
_pace = float(os.environ["BEACON_PACE"])  # of this machine: a lease must outlast its pauses

if os.environ.get("BEACON_TIMES") != "real":
    leases.LEASE_S = 2.0 * _pace
    runner.LEASE_RENEW_INTERVAL_S = 0.5 * _pace
    runner.POLL_INTERVAL_S = 0.25
    executor.MAX_START_DELAY_S = 2.0 * _pace
    ACTIONS.update(
        {
            name: replace(action, call_timeout_s=2.5 * _pace, confirm_timeout_s=3.0 * _pace)
            for name, action in ACTIONS.items()
        }
    )
    executor.SETTLE_TIMEOUT_S = 1.0 * _pace
    verification.RECONCILE_TIMEOUT_S = 1.0 * _pace
    effects.RETRY_FOLLOW_S = effects.RETRY_FOLLOW_INTERVAL_S
    importlib.import_module("tests.live.quick_poller")


def _strike(step):
    try:
        wanted, how = _blow.read_text().split(":")
        if wanted != step:
            return
        _blow.rename(_blow.with_suffix(".struck"))
    except FileNotFoundError:
        return
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        # To this thread: sent to the process, it may wait until the main thread wakes, and this one goes on meanwhile.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def _struck_after(module, name, step):
    """`module.name`, and then the blow; `step` says which step its result is, if any."""
    real = getattr(module, name)

    def struck(*args, **kwargs):
        result = real(*args, **kwargs)
        _strike(step(result))
        return result

    setattr(module, name, struck)


_struck_after(submit, "_insert_command", lambda _: "accepted")
_struck_after(leases, "claim_command", lambda claim: "taken" if claim is not None else "")
_struck_after(command_store, "record_before", lambda _: "begun")
_struck_after(command_store, "start_next_item", lambda asking: "recorded" if asking is None else "asked")
_struck_after(executor._CommandRun, "_call_source", lambda _: "acted")
_struck_after(command_store, "mark_confirmed", lambda _: "confirmed")
_struck_after(command_store, "finish_command", lambda _: "finished")
