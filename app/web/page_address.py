"""Addresses within this site: where a redirect or a link may lead."""

from urllib.parse import urlsplit

from flask import current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import MapAdapter, RequestRedirect

from app.web.path_prefix import remove_prefix


def local_path(target: str, otherwise: str = "/") -> str:
    """The target of a redirect if it is a path of this site (`//host` and `/\\host` lead to another site).

    Scripts send it as the browser sees it, with the path prefix. The address of a form answers only POST; it becomes
    the nearest page above it.
    """
    target = remove_prefix(target) or target
    is_local = target.startswith("/") and not target.startswith(("//", "/\\"))
    return _nearest_page(target, otherwise) if is_local and target.isprintable() else otherwise


def last_page(otherwise: str = "/") -> str:
    """The page that the request is for, or the one from which its form was sent."""
    if request.method in ("GET", "HEAD"):
        return request.full_path.rstrip("?")
    return page_of_form() or otherwise


def page_of_form() -> str | None:
    """The page from which the form of this request was sent, or None if that is unknown or another site's."""
    sender = urlsplit(request.referrer or "")
    if sender.netloc != request.host:
        return None
    path = remove_prefix(sender.path)
    return (path and local_path(f"{path}?{sender.query}" if sender.query else path, "")) or None


def _nearest_page(target: str, otherwise: str) -> str:
    routes = current_app.url_map.bind("")
    path = urlsplit(target).path
    if not _is_form_address(routes, path):
        return target
    while path := path.rpartition("/")[0]:
        if _answers_get(routes, path):
            return path
    return otherwise


def _is_form_address(routes: MapAdapter, path: str) -> bool:
    try:
        routes.match(path, "GET")
    except MethodNotAllowed:
        return True
    except (HTTPException, RequestRedirect):
        return False
    return False


def _answers_get(routes: MapAdapter, path: str) -> bool:
    return routes.test(path, "GET")
