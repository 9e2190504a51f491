"""`/notifications` and `/widgets/notifications`: pages, JSON and the embedded widget."""

from flask import Blueprint

bp = Blueprint("notifications", __name__)
