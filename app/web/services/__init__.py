"""`/services` and `/services/{id}`: what is watched, and how it is."""

from flask import Blueprint

bp = Blueprint("services", __name__)
