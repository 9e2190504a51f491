"""The checks of `beacon doctor`: each says what it found and, where something is wrong, what to do."""

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from flask import Flask

from app.audit import head_file
from app.cli import outside_check
from app.config import Settings
from app.db import now_epoch, read
from app.eventlog.log_size import LogSizeMeter
from app.flags import embedded
from app.flags.document import Flag, Nominal
from app.flags.outcome import PLAIN, Outcome
from app.flags.unleash.healthcheck import Examined
from app.flags.unleash.unleash_provider import Unleash
from app.infra import database_upgrade, file_descriptors, lock_holders, sqlite_wal
from app.reconciliation import registry
from app.sources.host_rules import PASSWORD_PREFIX
from app.sources.toml_file import read_services_file

MAX_CLOCK_DIFFERENCE_S = 1.0
SECRETS = ("unleash_api_token", "unleash_admin_token", "audit_head_url")
# An open transaction of somebody else that has written: Beacon's own are over in milliseconds.
LONG_TRANSACTION_S = 5
# The share of its bound from which the log counts as full.
FULL = 0.95
# Read by `make test`, not by Beacon.
NOT_SETTINGS = {"BEACON_SKIP_BROWSER"}


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    ok: bool
    words: str


def examine(app: Flask, settings: Settings) -> list[Finding]:
    """Every check, in the order in which to mend; those that need the database are left out where it is away."""
    with app.app_context():
        if not database_upgrade.is_reachable():
            words = f"cannot be reached at {_without_password(settings.database_url)}; run beacon migrate, or start it"
            return [Finding("database", False, words), _descriptors(settings)]
        checks: tuple[Callable[[], Finding], ...] = (
            lambda: Finding("database", True, _without_password(settings.database_url)),
            _migrations,
            _locks,
            lambda: _wal(settings),
            lambda: _log(settings),
            _clock,
            lambda: _descriptors(settings),
            lambda: _proxies(settings),
            lambda: _sources(settings),
            _passwords,
            _kept_head,
            _names,
            lambda: _flags(app),
        )
        return [_guarded(check) for check in checks]


def settings_lines(settings: Settings) -> list[str]:
    """`BEACON_NAME = value` for every setting; secrets are never shown."""
    shown = settings.model_dump(exclude={"secret_key", "database_url", "flag_overrides", *SECRETS})
    lines = [f"BEACON_{name.upper()} = {value}" for name, value in shown.items()]
    lines.append(f"BEACON_DATABASE_URL = {_without_password(settings.database_url)}")
    lines.append("BEACON_SECRET_KEY = (set)")
    lines += [f"BEACON_{name.upper()} = (set)" for name in SECRETS if getattr(settings, name)]
    lines += [
        f"BEACON_FLAG_{name.upper()} = {'on' if value else 'off'}" for name, value in settings.flag_overrides.items()
    ]
    return sorted(lines)


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except sa.exc.SQLAlchemyError as error:
        return Finding("database", False, f"{str(error).splitlines()[0]}; run beacon migrate")


def _migrations() -> Finding:
    current, newest = database_upgrade.current_revision(), database_upgrade.newest_revision()
    words = f"at {current}" if current == newest else f"at {current}, needs {newest}: run beacon migrate"
    return Finding("migrations", current == newest, words)


def _locks() -> Finding:
    """What every writer would wait for."""
    holders = [one for one in lock_holders.find_writers() if one.age_s is None or one.age_s >= LONG_TRANSACTION_S]
    if not holders:
        return Finding("locks", True, "no program holds up the writers")
    advice = "let it commit, or end it"
    return Finding("locks", False, f"writers wait for {lock_holders.describe_holders(holders)}: {advice}")


def _wal(settings: Settings) -> Finding:
    """What is left after a checkpoint is held by a reader."""
    if not settings.is_sqlite:
        return Finding("wal", True, "kept by PostgreSQL itself")
    path = settings.database_url.removeprefix("sqlite:///")
    try:
        pending = sqlite_wal.run_checkpoint(path)
    except sqlite3.Error as error:
        return Finding("wal", False, f"no checkpoint is possible: {error}")
    held = sqlite_wal.wal_size(path)
    if pending == 0 or held < sqlite_wal.STUCK_ABOVE_BYTES:
        return Finding("wal", True, f"the write-ahead log has {held} bytes")
    who = lock_holders.describe_holders(lock_holders.find_readers(path))
    words = f"the write-ahead log has {held} bytes and grows until a reader ends its transaction: {who}; let it end"
    return Finding("wal", False, words)


def _log(settings: Settings) -> Finding:
    """Its bounds in rows and bytes, beside that of age."""
    with read() as session:
        size = LogSizeMeter().measure(session)
    most = settings.event_max_mib * 1024 * 1024
    mib = size.bytes / (1024 * 1024)
    words = f"{size.rows:,} of {settings.event_max_rows:,} rows, {mib:,.0f} of {settings.event_max_mib:,} MiB"
    if size.rows < FULL * settings.event_max_rows and size.bytes < FULL * most:
        return Finding("log", True, words)
    advice = "the oldest go before their time; raise BEACON_EVENT_MAX_ROWS or BEACON_EVENT_MAX_MIB, or publish less"
    return Finding("log", False, f"{words}: {advice}")


def _clock() -> Finding:
    with read() as session:
        difference = abs((session.scalar(sa.select(now_epoch())) or 0.0) - time.time())
    good = difference <= MAX_CLOCK_DIFFERENCE_S
    advice = "" if good else "; set both clocks by NTP, or ages on the screen are wrong"
    return Finding("clock", good, f"{difference:.2f} s from the database's{advice}")


def _descriptors(settings: Settings) -> Finding:
    """The hard limit, because every worker raises its own to that."""
    limit, wanted = file_descriptors.hard_limit(), file_descriptors.count_needed(settings.max_streams)
    held = (
        f"MAX_STREAMS {settings.max_streams} needs about {wanted} descriptors in each worker, the hard limit is {limit}"
    )
    if limit >= wanted:
        return Finding("descriptors", True, held)
    least = file_descriptors.stream_capacity(limit)
    advice = f"raise it (ulimit -Hn, systemd's LimitNOFILE=) or set BEACON_MAX_STREAMS to at most {least}"
    return Finding("descriptors", False, f"{held}: {advice}; until then streams above {least} get 503")


def _sources(settings: Settings) -> Finding:
    """The services file too: it is brought into the database by the first process that polls."""
    with read() as session:
        ids = {row.id for row in registry.watched(session)}
    if settings.sources_file is not None:
        ids |= {entry.id for entry in read_services_file(settings.sources_file)}
    words = ", ".join(sorted(ids)) or "none is watched; add one: beacon service add ID URL"
    return Finding("sources", bool(ids), words)


def _passwords() -> Finding:
    """Services whose passwords are in variables that this host keeps to itself: they are not asked."""
    with read() as session:
        refused = {(row.id, row.password_env): registry.refused_variable(row) for row in registry.watched(session)}
    wrong = [f"{service} names {variable}: {said}" for (service, variable), said in refused.items() if said]
    return Finding("passwords", not wrong, "; ".join(wrong) or "no service names a variable that it may not have")


def _kept_head() -> Finding:
    """A quick look at the one entry; `beacon audit verify` reads all of them."""
    try:
        kept = head_file.keeper().kept()
    except head_file.Unreadable as error:
        return Finding("audit", False, f"{error}; mend it, or name another file in BEACON_AUDIT_HEAD_FILE")
    if kept is None:
        return Finding("audit", True, "no head is kept yet; a server that runs keeps one within seconds")
    with read() as session:
        wrong = head_file.contradiction(session, kept)
    words = f"does not hold {kept.words}: {wrong}; {head_file.ADVICE}" if wrong else f"holds {kept.words}"
    return Finding("audit", wrong is None, words)


def _proxies(settings: Settings) -> Finding:
    """`beacon doctor --url` shows whether the one in front says what it should."""
    wide = [str(network) for network in settings.trusted_networks if network.prefixlen == 0]
    if wide:
        words = f"{', '.join(wide)} in BEACON_TRUSTED_PROXIES trusts everybody: name the proxy's own address"
        return Finding("proxies", False, words)
    if os.environ.get("FORWARDED_ALLOW_IPS"):
        words = "FORWARDED_ALLOW_IPS is gunicorn's and does nothing here: use BEACON_TRUSTED_PROXIES, and unset it"
        return Finding("proxies", False, words)
    if settings.trusted_proxies:
        return Finding("proxies", True, f"X-Forwarded-… counts from {', '.join(settings.trusted_proxies)}")
    words = "none is trusted, so X-Forwarded-… is ignored; behind a proxy name its address in BEACON_TRUSTED_PROXIES"
    return Finding("proxies", True, words)


def from_outside(url: str) -> Finding:
    return Finding("outside", *outside_check.look(url))


def _names() -> Finding:
    """A setting that is misspelt is otherwise ignored without a word."""
    known = {f"BEACON_{name.upper()}" for name in Settings.model_fields}
    elsewhere = ("BEACON_FLAG_", PASSWORD_PREFIX)
    found = {name for name in os.environ if name.startswith("BEACON_") and not name.startswith(elsewhere)}
    unknown = sorted(found - known - NOT_SETTINGS)
    if not unknown:
        return Finding("names", True, "every BEACON_ variable is a setting")
    return Finding("names", False, f"{', '.join(unknown)}: no such setting; correct the name or unset it")


def _flags(app: Flask) -> Finding:
    ok, words = flag_source(app)
    overrides = app.extensions["beacon_flags"].overrides
    shown = ", ".join(f"{name} {'on' if value else 'off'}" for name, value in overrides.items())
    return Finding("flags", ok, f"{words}; overridden for everyone: {shown}" if shown else words)


def flag_source(app: Flask) -> tuple[bool, str]:
    """Where the flags come from and where they stand; False where something has to be mended.

    Inside the application's context. It asks a real Unleash and its Admin API once, and waits 10 s at most.
    """
    provider = app.extensions["beacon_rollout"]
    if isinstance(provider, Unleash):
        return _unleash(provider.examine(), can_change=provider.can_change)
    with read() as session:
        stands = {Flag(flag): Nominal(now.enabled, now.percentage) for flag, now in embedded.every(session).items()}
    return True, f"kept in Beacon's own database; {_standing(stands, {})}"


def _unleash(found: Examined, *, can_change: bool) -> tuple[bool, str]:
    if found.failure is not None:
        applies = "the flags it sent last apply" if found.kept else "it never sent any, so the declared defaults apply"
        advice = "check BEACON_UNLEASH_URL and BEACON_UNLEASH_API_TOKEN"
        return False, f"Unleash: {found.failure}; {applies}; {advice}"
    if found.missing:
        names = ", ".join(found.missing)
        return False, f"Unleash answers and has no {names}: create it there with one gradual rollout"
    here = f"Unleash answers; {_standing(found.standing, found.outcomes)}"
    for flag, group in found.groups.items():
        here += f" (the groupId of {flag} is {group}: other people than in the embedded mode)"
    if any(now.is_unsteady for now in found.standing.values()):
        return False, here
    if found.admin is not None:
        return False, f"{here}; {found.admin}"
    changes = "changes go through its Admin API" if can_change else "no BEACON_UNLEASH_ADMIN_TOKEN: it is changed there"
    return True, f"{here}; {changes}"


def _standing(stands: Mapping[Flag, Nominal], outcomes: Mapping[Flag, Outcome]) -> str:
    return ", ".join(f"{flag} {_at(now, outcomes.get(flag, PLAIN))}" for flag, now in stands.items())


def _at(now: Nominal, outcome: Outcome) -> str:
    if not now.enabled:
        return "switched off"
    if not outcome.is_plain and now.percentage is not None:
        return f"on: {outcome.describe(now)}"
    return f"at {now.percentage} %" if now.percentage is not None else f"without a percentage: {now.why}"


def _without_password(url: str) -> str:
    return sa.make_url(url).render_as_string(hide_password=True)
