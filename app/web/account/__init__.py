"""`/login`, `/logout`, `/api/users`, `/api/tokens`, and how a person likes pages to look."""

from flask import Blueprint

bp = Blueprint("account", __name__)
