"""A job service that speaks the Palantir HTTP API (docs/sources/palantir.md)."""

from urllib.parse import urlsplit

from app.sources.http_client import HttpClient
from app.sources.palantir.palantir_source import PalantirOptions, PalantirSource
from app.sources.protocol import Kind, ServiceAddress


def _check_url(url: str) -> ServiceAddress:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address like http://host:port")
    if "@" in parts.netloc:  # the address is shown on pages
        raise ValueError("expected an address without a user name or password; password_env names a token")
    if parts.query or parts.fragment:
        raise ValueError("expected an address without ? or #")
    return ServiceAddress(url.rstrip("/"))


def _build(address: ServiceAddress, options: PalantirOptions, bound: int) -> PalantirSource:
    http = HttpClient(address.url, token=address.password, reach=address.reach)
    show = options.show_arguments
    return PalantirSource(address.url, bound, options.finished_visible, http=http, show_arguments=show)


KIND = Kind(
    name="palantir",
    about="A job service that speaks the Palantir HTTP API",
    url_example="http://127.0.0.1:9001",
    check_url=_check_url,
    options=PalantirOptions,
    build=_build,
    health_path="/api/v1/health",
)
