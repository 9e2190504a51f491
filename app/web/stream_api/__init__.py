"""`/api/stream/events` and the other stream endpoints, and their finite counterpart for pages that poll."""

from flask import Blueprint

bp = Blueprint("stream_api", __name__)
