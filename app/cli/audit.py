"""`beacon audit`: verify the chain, write a checkpoint, accept a head, export."""

import sys
import time
from datetime import timedelta
from typing import get_args

import click

from app.audit import chain, export, head_file
from app.audit import checkpoint as checkpoints
from app.audit.query_params import AuditQuery
from app.audit.verify import ExpectedHead, read_outside_head, verify
from app.cli.context import open_migrated_app, operator_name
from app.db import write
from app.infra.clock import parse_utc, utc_now, utc_text
from app.infra.streaming_export import ExportFormat

REDRAW_INTERVAL_S = 0.1


@click.group()
def audit() -> None:
    """Audit: verify, checkpoint, accept-head, export."""


@audit.command("verify")
@click.option("--head", metavar="HASH", help="also check that the chain still contains this head of an export")
@click.option("--seq", type=click.IntRange(0), help="the entry whose hash --head is")
def verify_(head: str | None, seq: int | None) -> None:
    """Verify the whole chain and compare it with the head that this host keeps. Exit status 1: an entry is broken;
    it is the first one. Exit status 3: the chain could not be compared with a head."""
    if seq is not None and head is None:
        raise click.UsageError("--seq is the entry of --head: give both")
    with open_migrated_app():
        bar = ProgressBar()
        kept = read_outside_head()
        found = verify(bar, ExpectedHead(head, seq) if head else None, kept.expected)
        bar.end()
    if found.broken:
        click.echo(f"broken: {found.broken}; {found.count} entries before it are valid")
        sys.exit(1)
    if inconclusive := found.inconclusive or kept.error:
        click.echo(f"cannot tell: {inconclusive}; {found.count} entries are valid")
        sys.exit(3)
    click.echo(f"ok: {found.count} entries, head {found.head}")
    click.echo(f"{kept.description}{f'; and against the head {head}' if head else ''}", err=True)
    if found.deleted_through:
        click.echo(f"entries through seq {found.deleted_through} were deleted under a checkpoint", err=True)


@audit.command("checkpoint")
@click.option("--before", metavar="TIME", help="delete entries before this date or time")
@click.option("--days", type=click.FloatRange(0), help="delete entries older than this many days")
@click.option("--keep", is_flag=True, help="write the checkpoint, but delete nothing now")
def checkpoint(before: str | None, days: float | None, keep: bool) -> None:
    """Write a checkpoint of older entries to the chain, then delete them."""
    if (before is None) == (days is None):
        raise click.UsageError("say what to delete: --before TIME or --days N")
    try:
        moment = parse_utc(before) if before is not None else utc_now() - timedelta(days=days or 0)
    except ValueError as error:
        raise click.UsageError("--before: expected a date or a time, like 2026-11-21 or 2026-11-21T12:00") from error
    with open_migrated_app():
        try:
            made = checkpoints.seal_before(utc_text(moment), operator_name())
        except checkpoints.NothingToDelete as error:
            click.echo(str(error))
            return
        gone = 0 if keep else checkpoints.delete_covered(checkpoints.CLI_DELETE_BATCH_ROWS)
    click.echo(
        f"checkpoint {made.seq}: entries through seq {made.through_seq}, hash {made.through_hash}; {gone} deleted"
    )


@audit.command("accept-head")
@click.option("--reason", required=True, help="why the audit does not contain the kept head, such as a restored backup")
def accept_head(reason: str) -> None:
    """Replace the kept head, which the audit does not contain, with the current one. This is audited too."""
    with open_migrated_app():
        keeper = head_file.current_keeper()
        try:
            before = keeper.read_kept()
            params = {"reason": reason, "kept": None if before is None else {"seq": before.seq, "hash": before.hash}}
            with write() as session:
                chain.record(session, chain.Entry(operator_name(), "audit-accept-head", "audit", params=params))
            now = keeper.accept(reason)
        except head_file.HeadFileError as error:
            raise click.ClickException(f"{error}; fix it, or set another file in BEACON_AUDIT_HEAD_FILE") from None
    click.echo(f"kept: entry {now.seq}, hash {now.hash}")


@audit.command("export")
@click.option("--format", "form", type=click.Choice(get_args(ExportFormat)), default="ndjson", show_default=True)
def export_(form: ExportFormat) -> None:
    """Write the whole audit to standard output, oldest first; the last line is the head."""
    with open_migrated_app() as app:
        for piece in export.export_lines(app, AuditQuery(sortOrder="asc"), form):
            click.echo(piece, nl=False)


class ProgressBar:
    """A progress bar on standard error, shown only on a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._drawn_at = 0.0

    def __call__(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if self._shown and now - self._drawn_at >= REDRAW_INTERVAL_S:
            self._drawn_at = now
            filled = 30 * done // max(whole, 1)
            click.echo(f"\r[{'#' * filled:<30}] {done:,} of {whole:,}", nl=False, err=True)

    def end(self) -> None:
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
