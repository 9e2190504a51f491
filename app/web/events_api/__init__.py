"""`/api/events`: lets programs publish events and read them by polling."""

from flask import Blueprint

bp = Blueprint("events_api", __name__)
