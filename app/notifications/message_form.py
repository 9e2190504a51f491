"""The page's form for an operator's message: sends it, or returns the draft with an error text."""

from dataclasses import dataclass

from flask import request
from pydantic import ValidationError

from app.accounts.actors import Actor
from app.db import write
from app.notifications import broadcasts
from app.notifications.broadcasts import MAX_MESSAGE_CHARS
from app.notifications.request_models import MessageRequest, parse_body

_TEXT_ERRORS = {
    "string_too_short": "The message is empty: write what everybody should know.",
    "string_too_long": f"The message is too long: at most {MAX_MESSAGE_CHARS} characters.",
    "value_error": "The message contains a character that cannot be shown.",
}
_FIELD_ERRORS = {"severity": "Choose a severity.", "expiresAt": "Choose how long the message is shown."}


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """The content of the form: the fields as they were typed, and the error (empty: none)."""

    text: str = ""
    severity: str = "info"
    minutes: str = "15"
    error: str = ""
    status: int = 200
    is_text_invalid: bool = False


EMPTY_DRAFT = MessageDraft()


def send_posted_message(who: Actor) -> MessageDraft | None:
    """Send the posted message. Returns None if it was sent, otherwise the draft to show again."""
    try:
        wanted = MessageRequest.model_validate(parse_body(minutes="expiresAt"))
        with write() as session:
            broadcasts.send_message(session, who.name, wanted.severity, wanted.text, wanted.expires_at)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        text = _TEXT_ERRORS.get(first["type"]) if field == "text" else _FIELD_ERRORS.get(field)
        return _rejected_draft(text or f"{field}: {first['msg']}.", 400, is_text_invalid=field == "text")
    except broadcasts.TooManyMessages as error:
        return _rejected_draft(f"Not sent: {error}.", 409)
    except broadcasts.InvalidMessage as error:
        return _rejected_draft(f"Not sent: {error}.", 400)
    return None


def _rejected_draft(error: str, status: int, *, is_text_invalid: bool = False) -> MessageDraft:
    text, severity, minutes = (request.form.get(name, "") for name in ("text", "severity", "minutes"))
    return MessageDraft(text, severity, minutes, error, status, is_text_invalid)
