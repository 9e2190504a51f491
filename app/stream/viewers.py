"""How many streams are open in the whole deployment, as its workers said last."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import now_epoch
from app.stream.models import PresenceRow
from app.stream.presence import EXPIRE_S


def viewers(session: Session) -> int:
    now = now_epoch()
    alive = PresenceRow.seen.between(now - EXPIRE_S, now + EXPIRE_S)
    return session.scalar(sa.select(sa.func.coalesce(sa.func.sum(PresenceRow.count), 0)).where(alive)) or 0
