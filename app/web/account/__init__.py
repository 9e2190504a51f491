"""`/login`, `/logout`, `/theme`, `/api/users`, `/api/tokens` and `/api/stream/token`."""

from flask import Blueprint

bp = Blueprint("account", __name__)
