"""`/rollout` and `/api/rollout/{flag}`: who streams, and how that moves."""

from flask import Blueprint

bp = Blueprint("rollout", __name__)
