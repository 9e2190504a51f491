"""`/search` and `/api/search`: finds jobs, causes, services, queues, workers, commands and people."""

from flask import Blueprint

bp = Blueprint("search", __name__)
