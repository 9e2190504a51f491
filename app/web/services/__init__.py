"""`/services` and `/services/{id}`: pages and API for watched services."""

from flask import Blueprint

bp = Blueprint("services", __name__)
