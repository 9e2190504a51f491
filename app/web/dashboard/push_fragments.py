"""Renders an event as the HTML fragments that pages swap in, once for everyone who may see it.

They use only `hx-partial` and `hx-upsert`: a fragment whose target is not on the page is dropped silently, so the same
fragments serve every page. An out-of-band swap would empty the element that made the request.
"""

import re

from flask import current_app

from app.eventlog.reader import Event
from app.notifications.queries import Flash
from app.web.commands.command_views import CommandView
from app.web.dashboard.change_rows import SIGNAL_TYPES, ChangeRow, NameOf, is_routine_check
from app.web.dashboard.failing import Failing
from app.web.dashboard.view_models import LatestCheck, Tile, dom_key

# It starts where no blank precedes it. Otherwise the time would grow with the square of the blanks in somebody's text.
_INDENT = re.compile(r"(?<!\s)\s*\n\s*")


def render_fragments(event: Event, name_of: NameOf = str) -> str | None:
    """The fragments of `event` on one line, or None for a signal, which pages only react to.

    Needs an app context, but no request. `name_of` turns a service id into its display name.
    """
    if event.type in SIGNAL_TYPES:
        return None
    if event.type == "reconciliation.verified":
        return _render_on_one_line("dashboard/_push_checks.html", checks=_checks(event))
    if event.type == "reconciliation.failures":
        view = Failing.from_payload(name_of(event.data["service"]), event.data)
        return _render_on_one_line("dashboard/_push_failures.html", failing=view)
    change = ChangeRow.from_event(event, name_of)
    if event.type == "flash.message":
        return _render_on_one_line("notifications/_push_flash.html", change=change, flash=_open_message(event))
    if event.type == "command.status":
        return _render_on_one_line("commands/_push.html", change=change, command=CommandView.from_payload(event.data))
    if event.type != "reconciliation.update":
        return _render_on_one_line("dashboard/_push_change.html", change=change)
    service = event.data["service"]
    tile = Tile.from_payload(service, name_of(service), event.data)
    # An open page has no tile yet for a service's first update: the tile is inserted instead of replaced.
    is_new = "previousStatus" not in event.data
    shown = None if is_routine_check(event.data) else change
    return _render_on_one_line("dashboard/_push_update.html", tile=tile, change=shown, is_new=is_new)


def _open_message(event: Event) -> Flash:
    data = event.data
    return Flash(data["id"], data["severity"], data["text"], data["actor"], data["expiresAt"])


def _checks(event: Event) -> list[LatestCheck]:
    services = event.data["services"].items()
    return [
        LatestCheck(dom_key(service), check["checkedAt"], check["latencyMs"], check.get("asOf"))
        for service, check in services
    ]


def _render_on_one_line(template: str, **context: object) -> str:
    text = current_app.jinja_env.get_template(template).render(**context)
    # An unpaired surrogate from JSON cannot be encoded; it must not end the streams of all viewers.
    encodable = text.encode("utf-8", "replace").decode()
    return _INDENT.sub(" ", encodable).strip()
