"""Starts gunicorn without importing from the current folder.

By default gunicorn puts the current folder first on the import path, so it would serve a module `app` or `wsgi` there.
"""

from gunicorn.app.wsgiapp import WSGIApplication


class WebServer(WSGIApplication):
    def chdir(self) -> None:
        """Stay in the current folder, to which relative paths in settings refer, and import nothing from it."""


if __name__ == "__main__":
    WebServer("%(prog)s [OPTIONS]").run()
