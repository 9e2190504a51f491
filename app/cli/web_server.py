"""Starts gunicorn, which must not import from the folder in which a person happens to be.

gunicorn puts the current folder first on the import path. A module `app` or `wsgi` there would be served then.
"""

from gunicorn.app.wsgiapp import WSGIApplication


class WebServer(WSGIApplication):
    def chdir(self) -> None:
        """Stay in the current folder, to which relative paths in settings refer, and import nothing from it."""


if __name__ == "__main__":
    WebServer("%(prog)s [OPTIONS]").run()
