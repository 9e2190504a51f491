"""`/audit` and `/reconciliation/audit`: the page of the audit, its API, and errors that browsers report."""

from flask import Blueprint

bp = Blueprint("audit", __name__)
