"""The rollout page `/rollout` and the API `/api/rollout/{flag}`."""

from flask import Blueprint

bp = Blueprint("rollout", __name__)
