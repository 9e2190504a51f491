"""`/notifications` and `/widgets/notifications`: what a person should notice."""

from flask import Blueprint

bp = Blueprint("notifications", __name__)
