"""Addresses within this site: where a redirect or a link may lead."""

from urllib.parse import urlsplit

from flask import request


def local_path(target: str, otherwise: str = "/") -> str:
    """The target of a redirect if it is a path of this site (`//host` and `/\\host` lead to another site)."""
    is_local = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_local and target.isprintable() else otherwise


def last_page(otherwise: str = "/") -> str:
    """The page that the request is for, or the one from which its form was sent."""
    if request.method in ("GET", "HEAD"):
        return request.full_path.rstrip("?")
    sender = urlsplit(request.referrer or "")
    if sender.netloc != request.host:
        return otherwise
    return local_path(f"{sender.path}?{sender.query}" if sender.query else sender.path, otherwise)
