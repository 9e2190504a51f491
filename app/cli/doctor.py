"""The checks of `beacon doctor`: each reports what it found and, if something is wrong, what to do."""

import os
import sqlite3
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from flask import Flask

from app import config
from app.accounts import users
from app.audit import head_file
from app.cli import database_checks
from app.cli.finding import Finding
from app.components import components
from app.config import Settings
from app.db import now_epoch, read
from app.eventlog.log_size import LogSizeMeter
from app.flags import embedded
from app.flags.document import ConfiguredState, Flag
from app.flags.models import WorkerStateRow
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome
from app.flags.unleash.healthcheck import HealthcheckResult
from app.flags.unleash.unleash_provider import UnleashProvider
from app.flags.worker_state import WORKER_EXPIRY_S
from app.infra import database_upgrade, file_descriptors, lock_holders, sqlite_wal
from app.infra.lease import POLLER_LEASE, LeaseRow
from app.reconciliation import registry
from app.sources.host_rules import PASSWORD_PREFIX
from app.sources.toml_file import read_services_file

# Secrets of which it is said that they are set; an address that never holds one is shown.
SECRET_SETTINGS = sorted(config.SECRET_SETTINGS - {"secret_key", "database_url", "unleash_url"})
# Age from which an open write transaction of another program is reported; Beacon's own take milliseconds.
MIN_LONG_TRANSACTION_S = 5
# The share of its limit from which the event log counts as full.
LOG_FULL_SHARE = 0.95
# BEACON_ variables that are no settings: the tests and `beacon doctor --url` read them.
NON_SETTING_VARIABLES = {"BEACON_SKIP_BROWSER", "BEACON_TEST_DATABASE", "BEACON_DOCTOR_TOKEN"}


def run_checks(app: Flask, settings: Settings) -> list[Finding]:
    """Run all checks, in the order in which to fix them, except those that need what is missing: database or tables."""
    with app.app_context():
        reason = database_upgrade.find_connection_problem()
        if reason:
            where = _without_password(settings.database_url)
            text = f"cannot be reached at {where}: {reason}; run beacon migrate, or start it"
            return [Finding("database", False, text), _check_descriptors(settings)]
        if database_upgrade.current_revision() is None:
            found = [Finding("database", True, _without_password(settings.database_url)), _check_migrations()]
            return [*found, _check_descriptors(settings), _check_proxies(settings), _check_names()]
        checks: tuple[Callable[[], Finding], ...] = (
            lambda: Finding("database", True, _without_password(settings.database_url)),
            _check_migrations,
            lambda: database_checks.check_file_system(settings),
            lambda: database_checks.check_privileges(settings),
            lambda: database_checks.check_connections(settings),
            lambda: database_checks.check_notifications(settings),
            _check_locks,
            lambda: _check_wal(settings),
            lambda: _check_log(settings),
            database_checks.check_clocks,
            *([lambda: _check_redis(settings.redis_url)] if settings.redis_url else []),
            lambda: _check_descriptors(settings),
            lambda: _check_proxies(settings),
            lambda: _check_sources(settings),
            _check_worker,
            _check_passwords,
            _check_kept_head,
            _check_names,
            _check_users,
            lambda: _check_flags(app),
        )
        return [_run_check(check) for check in checks]


def settings_lines(settings: Settings) -> list[str]:
    """`BEACON_NAME = value` for every setting; secrets are never shown."""
    shown = settings.model_dump(exclude={"secret_key", "database_url", "flag_overrides", *SECRET_SETTINGS})
    lines = [f"BEACON_{name.upper()} = {value}" for name, value in shown.items()]
    lines.append(f"BEACON_DATABASE_URL = {_without_password(settings.database_url)}")
    lines.append("BEACON_SECRET_KEY = (set)")
    lines += [f"BEACON_{name.upper()} = (set)" for name in SECRET_SETTINGS if getattr(settings, name)]
    lines += [
        f"BEACON_FLAG_{name.upper()} = {'on' if value else 'off'}" for name, value in settings.flag_overrides.items()
    ]
    return sorted(lines)


def _run_check(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except sa.exc.SQLAlchemyError as error:
        is_refused = getattr(getattr(error, "orig", None), "sqlstate", None) == "42501"  # insufficient_privilege
        advice = "see privileges above" if is_refused else "run beacon migrate"
        return Finding("database", False, f"{str(error).splitlines()[0]}; {advice}")


def _check_migrations() -> Finding:
    current, newest = database_upgrade.current_revision(), database_upgrade.newest_revision()
    found = "never migrated" if current is None else f"at {current}"
    text = found if current == newest else f"{found}, needs {newest}: run beacon migrate"
    return Finding("migrations", current == newest, text)


def _check_locks() -> Finding:
    """Check for a lock that every writer would wait for."""
    holders = [one for one in lock_holders.find_writers() if one.age_s is None or one.age_s >= MIN_LONG_TRANSACTION_S]
    if not holders:
        return Finding("locks", True, "no program blocks the writers")
    advice = "let it commit, or end it"
    return Finding("locks", False, f"writers wait for {lock_holders.describe_holders(holders)}: {advice}")


def _check_wal(settings: Settings) -> Finding:
    """Checkpoint the write-ahead log; a reader holds what is left after that."""
    if not settings.is_sqlite:
        return Finding("wal", True, "PostgreSQL manages its own")
    path = settings.database_url.removeprefix("sqlite:///")
    try:
        pending = sqlite_wal.run_checkpoint(path)
    except sqlite3.Error as error:
        return Finding("wal", False, f"the checkpoint failed: {error}")
    held = sqlite_wal.wal_size(path)
    if pending == 0 or held < sqlite_wal.STUCK_ABOVE_BYTES:
        return Finding("wal", True, f"the write-ahead log has {held} bytes")
    who = lock_holders.describe_holders(lock_holders.find_readers(path))
    text = f"the write-ahead log has {held} bytes and grows until a reader ends its transaction: {who}; let it end"
    return Finding("wal", False, text)


def _check_log(settings: Settings) -> Finding:
    """Compare the event log with its limits in rows and bytes; its limit in age is separate."""
    with read() as session:
        size = LogSizeMeter().measure(session)
    most = settings.event_max_mib * 1024 * 1024
    mib = size.bytes / (1024 * 1024)
    text = f"{size.rows:,} of {settings.event_max_rows:,} rows, {mib:,.0f} of {settings.event_max_mib:,} MiB"
    if size.rows < LOG_FULL_SHARE * settings.event_max_rows and size.bytes < LOG_FULL_SHARE * most:
        return Finding("log", True, text)
    advice = "the oldest are deleted early; raise BEACON_EVENT_MAX_ROWS or BEACON_EVENT_MAX_MIB, or publish less"
    return Finding("log", False, f"{text}: {advice}")


def _check_redis(url: str) -> Finding:
    """Check that the server answers that wakes the workers and counts their rate limits."""
    from app.eventlog import redis_wakeups  # local: most servers need no Redis client

    problem = redis_wakeups.find_problem(url)
    if problem:
        text = f"BEACON_REDIS_URL does not answer ({problem}): start it, or correct the address"
        return Finding("redis", False, f"{text}; until then events of other workers come up to a second late")
    return Finding("redis", True, "answers; it wakes the workers and counts their rate limits")


def _check_descriptors(settings: Settings) -> Finding:
    """Check the hard limit, because every worker raises its soft limit to it."""
    limit, wanted = file_descriptors.hard_limit(), file_descriptors.count_needed(settings.max_streams)
    held = (
        f"BEACON_MAX_STREAMS={settings.max_streams} needs about {wanted} descriptors in each worker; "
        f"the hard limit is {limit}"
    )
    if limit >= wanted:
        return Finding("descriptors", True, held)
    least = file_descriptors.stream_capacity(limit)
    advice = f"raise it (ulimit -Hn, systemd's LimitNOFILE=) or set BEACON_MAX_STREAMS to at most {least}"
    return Finding("descriptors", False, f"{held}: {advice}; until then streams above {least} get 503")


def _check_sources(settings: Settings) -> Finding:
    """List the watched services, also those in the services file, which the first polling process imports."""
    with read() as session:
        ids = {row.id for row in registry.list_services(session)}
    if settings.sources_file is not None:
        ids |= {entry.id for entry in read_services_file(settings.sources_file)}
    text = ", ".join(sorted(ids)) or "no service is watched; add one: beacon service add ID URL"
    return Finding("sources", bool(ids), text)


def _check_worker() -> Finding:
    """Check that somebody polls while web workers run: both may run apart, on different hosts."""
    with read() as session:
        polling = session.scalar(
            sa.select(LeaseRow.holder).where(LeaseRow.name == POLLER_LEASE, LeaseRow.expires_at > now_epoch())
        )
        serving = session.scalar(sa.select(sa.func.count()).where(WorkerStateRow.seen > now_epoch() - WORKER_EXPIRY_S))
    if polling:
        return Finding("worker", True, f"polls and runs commands: {polling}")
    if not serving:
        return Finding("worker", True, "no web worker runs, so none is needed")
    advice = "start beacon worker, or beacon serve without --web-only"
    return Finding("worker", False, f"web workers run, but nothing polls services or runs commands: {advice}")


def _check_passwords() -> Finding:
    """Find services that are not polled, because they take their password from a variable that is not allowed."""
    with read() as session:
        refused = {
            (row.id, row.password_env): registry.explain_refused_variable(row)
            for row in registry.list_services(session)
        }
    wrong = [f"{service} names {variable}: {said}" for (service, variable), said in refused.items() if said]
    return Finding("passwords", not wrong, "; ".join(wrong) or "no service uses a variable that is not allowed")


def _check_kept_head() -> Finding:
    """Compare the kept head with its one entry; `beacon audit verify` reads all entries."""
    try:
        kept = head_file.current_keeper().read_kept()
    except head_file.HeadFileError as error:
        return Finding("audit", False, f"{error}; fix it, or set another file in BEACON_AUDIT_HEAD_FILE")
    if kept is None:
        return Finding("audit", True, "no head is kept yet; a running server stores one within seconds")
    with read() as session:
        wrong = head_file.find_contradiction(session, kept)
    text = (
        f"does not contain {kept.description}: {wrong}; {head_file.MISMATCH_ADVICE}"
        if wrong
        else f"contains {kept.description}"
    )
    return Finding("audit", wrong is None, text)


def _check_proxies(settings: Settings) -> Finding:
    """Check the proxy settings; `beacon doctor --url` checks the proxy itself."""
    wide = [str(network) for network in settings.trusted_networks if network.prefixlen == 0]
    if wide:
        text = f"{', '.join(wide)} in BEACON_TRUSTED_PROXIES trusts every client: set the proxy's own address"
        return Finding("proxies", False, text)
    if os.environ.get("FORWARDED_ALLOW_IPS"):
        text = (
            "FORWARDED_ALLOW_IPS is a setting of gunicorn and has no effect: unset it, and use BEACON_TRUSTED_PROXIES"
        )
        return Finding("proxies", False, text)
    if settings.trusted_proxies:
        return Finding("proxies", True, f"X-Forwarded-… is trusted from {', '.join(settings.trusted_proxies)}")
    text = "none is trusted, so X-Forwarded-… is ignored; behind a proxy, set its address in BEACON_TRUSTED_PROXIES"
    return Finding("proxies", True, text)


def _check_names() -> Finding:
    """Find misspelled settings, which would otherwise be ignored silently."""
    known = {f"BEACON_{name.upper()}" for name in Settings.model_fields}
    known |= {f"BEACON_{name.upper()}_FILE" for name in config.SECRET_SETTINGS}
    elsewhere = ("BEACON_FLAG_", PASSWORD_PREFIX)
    found = {name for name in os.environ if name.startswith("BEACON_") and not name.startswith(elsewhere)}
    unknown = sorted(found - known - NON_SETTING_VARIABLES)
    if not unknown:
        return Finding("names", True, "every BEACON_ variable is a setting")
    return Finding("names", False, f"{', '.join(unknown)}: no such setting; correct the name or unset it")


def _check_users() -> Finding:
    """Find users with a name that was not reserved when they were added."""
    with read() as session:
        found = users.list_reserved(session)
    if not found:
        return Finding("users", True, "no user has a name that Beacon uses for itself")
    advice = "the audit uses the same name for what Beacon does; add another user, then disable this one"
    return Finding("users", False, f"{', '.join(found)}: {advice}")


def _check_flags(app: Flask) -> Finding:
    ok, text = describe_flag_source(app)
    overrides = components(app).flags.overrides
    shown = ", ".join(f"{name} {'on' if value else 'off'}" for name, value in overrides.items())
    return Finding("flags", ok, f"{text}; overridden for everyone: {shown}" if shown else text)


def describe_flag_source(app: Flask) -> tuple[bool, str]:
    """Describe the source and the state of the flags; False if something has to be fixed.

    Needs an app context. Calls a real Unleash and its Admin API once, and waits 10 s at most.
    """
    provider = components(app).provider
    if isinstance(provider, UnleashProvider):
        return _describe_unleash(provider.check_health(), can_change=provider.can_change)
    with read() as session:
        stands = {
            Flag(flag): ConfiguredState(now.enabled, now.percentage)
            for flag, now in embedded.load_all_rollouts(session).items()
        }
    return True, f"stored in Beacon's own database; {_describe_flags(stands, {})}"


def _describe_unleash(found: HealthcheckResult, *, can_change: bool) -> tuple[bool, str]:
    if found.failure is not None:
        applies = (
            "the last flags it sent apply"
            if found.has_snapshot
            else "it never sent any, so the declared defaults apply"
        )
        advice = "check BEACON_UNLEASH_URL and BEACON_UNLEASH_API_TOKEN"
        return False, f"Unleash: {found.failure}; {applies}; {advice}"
    if found.missing:
        names = ", ".join(found.missing)
        return False, f"Unleash answers but has no {names}: create it there with one gradual rollout"
    here = f"Unleash answers; {_describe_flags(found.states, found.outcomes)}"
    for flag, group in found.groups.items():
        here += f" (the groupId of {flag} is {group}, so it enables other users than the embedded mode)"
    if any(now.has_unusable_stickiness for now in found.states.values()):
        return False, here
    if found.admin_problem is not None:
        return False, f"{here}; {found.admin_problem}"
    changes = "changes go through its Admin API" if can_change else "no BEACON_UNLEASH_ADMIN_TOKEN: change flags there"
    return True, f"{here}; {changes}"


def _describe_flags(stands: Mapping[Flag, ConfiguredState], outcomes: Mapping[Flag, RolloutOutcome]) -> str:
    return ", ".join(f"{flag} {_describe_flag(now, outcomes.get(flag, PLAIN_OUTCOME))}" for flag, now in stands.items())


def _describe_flag(now: ConfiguredState, outcome: RolloutOutcome) -> str:
    if not now.enabled:
        return "switched off"
    if not outcome.is_plain and now.percentage is not None:
        return f"on: {outcome.describe(now)}"
    return f"at {now.percentage} %" if now.percentage is not None else f"without a percentage: {now.why}"


def _without_password(url: str) -> str:
    return sa.make_url(url).render_as_string(hide_password=True)
