"""A bare Flask application: the templates, the assets, and nothing that opens a database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.components import Components
from app.web import assets
from app.web.dashboard.view_models import job_href

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bare() -> Iterator[Flask]:
    app = Flask("bare", static_folder=None, template_folder=str(ROOT / "templates"))
    app.extensions["beacon"] = Components()
    assets.init_app(app)
    app.jinja_env.globals.update(csrf_token=lambda: "a-token", environment_name="development", job_href=job_href)
    with app.app_context():
        yield app
