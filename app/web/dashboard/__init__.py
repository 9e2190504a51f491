"""`/`: the first screen, and the partials that first render, push and poll share."""

from flask import Blueprint

bp = Blueprint("dashboard", __name__)
