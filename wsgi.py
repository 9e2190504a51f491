"""The application for other WSGI servers and for Flask's own command; gunicorn.conf.py names the factory itself."""

from app import create_app

app = create_app()
