"""`/admin`: what administrators set up."""

from flask import Blueprint

bp = Blueprint("admin", __name__)
