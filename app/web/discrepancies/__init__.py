"""`/discrepancies` and `/services/{id}/discrepancies`: history, export, and accepting open items."""

from flask import Blueprint

bp = Blueprint("discrepancies", __name__)
