"""`/commands` and `/services/{id}/commands`: pages and API for commands."""

from flask import Blueprint

bp = Blueprint("commands", __name__)
