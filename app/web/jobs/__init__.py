"""`/services/{id}/jobs` and `/api/jobs`: pages and API for the jobs of a service."""

from flask import Blueprint

bp = Blueprint("jobs", __name__)
