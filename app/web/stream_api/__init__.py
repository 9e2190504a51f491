"""`/api/stream` and its other addresses: the stream, and its finite twin for pages that poll."""

from flask import Blueprint

bp = Blueprint("stream_api", __name__)
