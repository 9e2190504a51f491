"""`/audit` and `/reconciliation/audit`: the audit page, its API, and error reports from browsers."""

from flask import Blueprint

bp = Blueprint("audit", __name__)
