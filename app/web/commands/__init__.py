"""`/commands` and `/services/{id}/commands`: what operators order, and what became of it."""

from flask import Blueprint

bp = Blueprint("commands", __name__)
