"""`/failures` and `/services/{id}/failures`: failed jobs by cause, and one page for each cause."""

from flask import Blueprint

bp = Blueprint("failures", __name__)
