"""The page's form for an operator's message: sent, or given back as it was typed with what is wrong in words."""

from dataclasses import dataclass

from flask import request
from pydantic import ValidationError

from app.accounts.actors import Actor
from app.db import write
from app.notifications import broadcasts
from app.notifications.broadcasts import MAX_CHARS
from app.notifications.request_models import Message, posted

_TEXT = {
    "string_too_short": "The message is empty: write what everybody should know.",
    "string_too_long": f"The message is too long: at most {MAX_CHARS} characters.",
    "value_error": "The message holds a character that cannot be shown.",
}
_OTHERS = {"severity": "Choose how severe it is.", "expiresAt": "Choose how long it is shown."}


@dataclass(frozen=True, slots=True)
class Draft:
    """What the form shows: what was typed, and what is wrong with it (empty: nothing)."""

    text: str = ""
    severity: str = "info"
    minutes: str = "15"
    wrong: str = ""
    status: int = 200
    is_about_text: bool = False


EMPTY = Draft()


def send(who: Actor) -> Draft | None:
    """Send what was posted. None where it is sent; else the draft, to be shown again."""
    try:
        wanted = Message.model_validate(posted(minutes="expiresAt"))
        with write() as session:
            broadcasts.send(session, who.name, wanted.severity, wanted.text, wanted.expires_at)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        words = _TEXT.get(first["type"]) if field == "text" else _OTHERS.get(field)
        return _typed(words or f"{field}: {first['msg']}.", 400, is_about_text=field == "text")
    except broadcasts.TooMany as error:
        return _typed(f"Not sent: {error}.", 409)
    except broadcasts.BadFlash as error:
        return _typed(f"Not sent: {error}.", 400)
    return None


def _typed(wrong: str, status: int, *, is_about_text: bool = False) -> Draft:
    text, severity, minutes = (request.form.get(name, "") for name in ("text", "severity", "minutes"))
    return Draft(text, severity, minutes, wrong, status, is_about_text)
