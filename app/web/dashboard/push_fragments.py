"""An event as the fragments that a page swaps, rendered once for everyone who may see it.

Only `hx-partial` and `hx-upsert`: a fragment whose target is not on the page is dropped without a trace, so
one shape serves every page. An out-of-band swap would empty the element that asked.
"""

import re

from flask import current_app

from app.eventlog.reader import Event
from app.notifications.queries import Flash
from app.web.commands.command_views import CommandView
from app.web.dashboard.change_rows import SIGNAL_TYPES, ChangeRow, NameOf
from app.web.dashboard.view_models import Check, Tile, dom_key

_INDENT = re.compile(r"\s*\n\s*")


def render(event: Event, name_of: NameOf = str) -> str | None:
    """The fragments of `event` on one line, or None for an event that pages only act on (a signal).

    Needs an app context and no request. `name_of` turns a service id into its display name.
    """
    if event.type in SIGNAL_TYPES:
        return None
    if event.type == "reconciliation.verified":
        return _render("dashboard/_push_checks.html", checks=_checks(event))
    change = ChangeRow.from_event(event, name_of)
    if event.type == "flash.message":
        return _render("notifications/_push_flash.html", change=change, flash=_flash(event))
    if event.type == "command.status":
        return _render("commands/_push.html", change=change, command=CommandView.from_payload(event.data))
    if event.type != "reconciliation.update":
        return _render("dashboard/_push_change.html", change=change)
    service = event.data["service"]
    tile = Tile.from_payload(service, name_of(service), event.data)
    # The first update of a service finds no tile to replace on an open page: it enters.
    enters = "previousStatus" not in event.data
    return _render("dashboard/_push_update.html", tile=tile, change=change, enters=enters)


def _flash(event: Event) -> Flash:
    data = event.data
    return Flash(data["id"], data["severity"], data["text"], data["actor"], data["expiresAt"])


def _checks(event: Event) -> list[Check]:
    services = event.data["services"].items()
    return [
        Check(dom_key(service), check["checkedAt"], check["latencyMs"], check.get("asOf"))
        for service, check in services
    ]


def _render(template: str, **context: object) -> str:
    text = current_app.jinja_env.get_template(template).render(**context)
    # JSON may hold half a surrogate pair, which has no bytes: it must not end the stream of everyone.
    whole = text.encode("utf-8", "replace").decode()
    return _INDENT.sub(" ", whole).strip()
