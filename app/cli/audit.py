"""`beacon audit`: verify the chain, seal a checkpoint, export."""

import sys
import time
from datetime import timedelta
from typing import get_args

import click

from app.audit import chain, export, head_file
from app.audit import checkpoint as checkpoints
from app.audit.query_params import AuditQuery
from app.audit.verify import Expected, outside, verify
from app.cli.context import application, operator
from app.db import write
from app.infra.clock import parse_utc, utc_now, utc_text
from app.infra.streaming_export import ExportFormat

REDRAW_S = 0.1


@click.group()
def audit() -> None:
    """The audit: verify, checkpoint, export."""


@audit.command("verify")
@click.option("--head", metavar="HASH", help="a head from an export: that its tail is still there is verified too")
@click.option("--seq", type=click.IntRange(0), help="the entry whose hash --head is")
def verify_(head: str | None, seq: int | None) -> None:
    """Read the whole chain, and hold the head that this host keeps against it; exit status 1 and the first broken
    entry where it does not hold, 3 where a head cannot be held against it."""
    if seq is not None and head is None:
        raise click.UsageError("--seq says where --head belongs: give both")
    with application():
        bar = Bar()
        kept = outside()
        found = verify(bar, Expected(head, seq) if head else None, kept.expected)
        bar.end()
    if found.broken:
        click.echo(f"broken: {found.broken}; {found.count} entries before it hold")
        sys.exit(1)
    if untold := found.untold or kept.trouble:
        click.echo(f"cannot tell: {untold}; {found.count} entries hold")
        sys.exit(3)
    click.echo(f"ok: {found.count} entries, head {found.head}")
    click.echo(f"{kept.words}{f'; and against the head {head}' if head else ''}", err=True)
    if found.since:
        click.echo(f"entries through seq {found.since} have gone under a checkpoint", err=True)


@audit.command("checkpoint")
@click.option("--before", metavar="TIME", help="entries before this day or moment may go")
@click.option("--days", type=click.FloatRange(0), help="entries older than so many days may go")
@click.option("--keep", is_flag=True, help="seal only: delete nothing now")
def checkpoint(before: str | None, days: float | None, keep: bool) -> None:
    """Seal what is older into an entry of the chain, and let it go."""
    if (before is None) == (days is None):
        raise click.UsageError("say what may go: --before TIME or --days N")
    try:
        moment = parse_utc(before) if before is not None else utc_now() - timedelta(days=days or 0)
    except ValueError as error:
        raise click.UsageError("--before: expected a day or a moment, like 2026-11-21 or 2026-11-21T12:00") from error
    with application():
        try:
            made = checkpoints.seal_before(utc_text(moment), operator())
        except checkpoints.NothingToGo as error:
            click.echo(str(error))
            return
        gone = 0 if keep else checkpoints.sweep(checkpoints.STEP_ALONE)
    click.echo(
        f"checkpoint {made.seq}: entries through seq {made.through_seq}, hash {made.through_hash}; {gone} deleted"
    )


@audit.command("accept-head")
@click.option("--reason", required=True, help="why the log does not hold the kept head, such as a restored backup")
def accept_head(reason: str) -> None:
    """Keep the head of the log as it is now, instead of the one that the log does not hold. It is an entry itself."""
    with application():
        keeper = head_file.keeper()
        try:
            before = keeper.kept()
            params = {"reason": reason, "kept": None if before is None else {"seq": before.seq, "hash": before.hash}}
            with write() as session:
                chain.record(session, chain.Entry(operator(), "audit-accept-head", "audit", params=params))
            now = keeper.accept(reason)
        except head_file.Unreadable as error:
            raise click.ClickException(f"{error}; mend it, or name another file in BEACON_AUDIT_HEAD_FILE") from None
    click.echo(f"kept: entry {now.seq}, hash {now.hash}")


@audit.command("export")
@click.option("--format", "form", type=click.Choice(get_args(ExportFormat)), default="ndjson", show_default=True)
def export_(form: ExportFormat) -> None:
    """Write the whole audit to standard output, oldest first; its last line is the head."""
    with application() as app:
        for piece in export.lines_of(app, AuditQuery(sortOrder="asc"), form):
            click.echo(piece, nl=False)


class Bar:
    """How far it is, on a terminal and only there: whoever reads the output wants one line."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._drawn_at = 0.0

    def __call__(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if self._shown and now - self._drawn_at >= REDRAW_S:
            self._drawn_at = now
            filled = 30 * done // max(whole, 1)
            click.echo(f"\r[{'#' * filled:<30}] {done:,} of {whole:,}", nl=False, err=True)

    def end(self) -> None:
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
