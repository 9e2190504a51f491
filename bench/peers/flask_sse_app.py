"""What gunicorn serves, in the peers' environment."""

# mypy: disable-error-code="import-not-found, unused-ignore"
import os

import flask
from flask_sse import sse

app = flask.Flask("flask_sse_app")
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/events")
