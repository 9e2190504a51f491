"""`/discrepancies` and `/services/{id}/discrepancies`: what was wrong, what is, and what an operator accepts."""

from flask import Blueprint

bp = Blueprint("discrepancies", __name__)
