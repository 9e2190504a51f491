"""`/discrepancies` and `/reconciliation/discrepancies`: the history of discrepancies, and its export."""

from flask import Blueprint

bp = Blueprint("discrepancies", __name__)
