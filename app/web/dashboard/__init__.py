"""`/`: the dashboard, and the templates that first render, push and poll share."""

from flask import Blueprint

bp = Blueprint("dashboard", __name__)
