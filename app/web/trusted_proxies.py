"""Applies X-Forwarded-… headers of proxies whose address is in `BEACON_TRUSTED_PROXIES`.

Client address, scheme, host and path prefix are corrected here, outside of everything else, so that logins, limits,
audit, cookies and origin checks all see the same request.
"""

import ipaddress
import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDED_HEADERS = tuple(f"X-Forwarded-{part}" for part in ("For", "Proto", "Host", "Port", "Prefix"))
MAX_PREFIX_CHARS = 100
# More hops are ignored, because a client may send as many addresses as fit into a header.
MAX_HOPS = 20
DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
_ENVIRON_KEY = "beacon.proxy"


@dataclass(frozen=True, slots=True)
class Proxy:
    """The peer that sent the current request: a proxy, or the client itself."""

    address: str
    """The address that the connection came from."""
    is_trusted: bool
    sent_headers: tuple[str, ...]
    """The `FORWARDED_HEADERS` that it sent, trusted or not."""
    sent_port: bool
    """True if it sent the port that the browser used, in the host or in a header of its own."""


class TrustedProxies:
    """WSGI middleware; `networks` returns the networks that are trusted now, `prefix` the path prefix of the settings.
    A prefix that is set wins over the one that proxies send, who may pass on what clients send."""

    def __init__(
        self,
        application: "WSGIApplication",
        networks: Callable[[], Sequence[IpNetwork]],
        prefix: Callable[[], str] = lambda: "",
    ) -> None:
        self._application, self._networks, self._prefix = application, networks, prefix
        self._warning = threading.Lock()
        self._warned = False

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        peer = environ.get("REMOTE_ADDR", "")
        sent = tuple(name for name in FORWARDED_HEADERS if environ.get(_environ_key(name)))
        is_trusted = is_in_networks(peer, self._networks())
        prefix = ""
        if is_trusted:
            prefix = _apply_headers(environ, self._networks())
        elif sent:
            self._warn(peer, sent)
        _apply_prefix(environ, self._prefix() or prefix)
        environ[_ENVIRON_KEY] = Proxy(peer, is_trusted, sent, is_trusted and _names_port(environ))
        for name in FORWARDED_HEADERS:
            environ.pop(_environ_key(name), None)  # nothing behind this must read them
        return self._application(environ, start_response)

    def _warn(self, peer: str, sent: Sequence[str]) -> None:
        """Log once per process: anyone may send such headers, and an untrusted proxy does so with every request."""
        with self._warning:
            if self._warned:
                return
            self._warned = True
        log.warning(
            "ignored %s from %s, which is not in BEACON_TRUSTED_PROXIES; "
            "if this is your proxy, add its address there (logged once)",
            ", ".join(sent),
            peer,
        )


def current_proxy() -> Proxy:
    found: Proxy = request.environ.get(_ENVIRON_KEY) or Proxy(request.remote_addr or "", False, (), sent_port=False)
    return found


def parse_network(text: str) -> IpNetwork:
    """Parse an address or a network. Raises `ValueError` with a message for people."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address or network, like 10.0.0.7 or 10.0.0.0/24: {error}") from None


def parse_address(text: str) -> IpAddress | None:
    """Parse an address as proxies write it: with or without a port, IPv6 with or without brackets."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def is_in_networks(text: str, networks: Sequence[IpNetwork]) -> bool:
    address = parse_address(text)
    return address is not None and any(address in network for network in networks)


def _apply_headers(environ: "WSGIEnvironment", networks: Sequence[IpNetwork]) -> str:
    """Apply address, scheme, host and port; return the path prefix, empty if none was sent."""
    hops = _count_hops(environ, networks)
    scheme = _outermost_value(environ, "Proto", hops).lower()
    if scheme in DEFAULT_PORTS:
        environ["wsgi.url_scheme"] = scheme
    host = _outermost_value(environ, "Host", hops)
    if _HOST.fullmatch(host):
        environ["HTTP_HOST"] = host
    port = _outermost_value(environ, "Port", hops)
    # A port in the host takes precedence. A default port is ignored: it may be that of a balancer behind TLS.
    if _is_nondefault_port(port) and not re.search(r":\d+$", environ.get("HTTP_HOST", ":0")):
        environ["HTTP_HOST"] = f"{environ['HTTP_HOST']}:{port}"
    prefix = _outermost_value(environ, "Prefix", hops).rstrip("/")
    return prefix if is_path_prefix(prefix) else ""


def is_path_prefix(text: str) -> bool:
    return len(text) <= MAX_PREFIX_CHARS and _PREFIX.fullmatch(text) is not None


def _apply_prefix(environ: "WSGIEnvironment", prefix: str) -> None:
    """Set the prefix, and remove it from the path if the proxy passed the path on as it came."""
    if not prefix:
        return
    environ["SCRIPT_NAME"] = prefix
    path = environ.get("PATH_INFO", "")
    if path == prefix or path.startswith(f"{prefix}/"):
        environ["PATH_INFO"] = path[len(prefix) :] or "/"


def _count_hops(environ: "WSGIEnvironment", networks: Sequence[IpNetwork]) -> int:
    """Count the trusted proxies and set the client address to the right-most address that is not trusted.

    Addresses further left came with the request, so the client may have made them up.
    """
    hops = 1
    for text in reversed(_header_values(environ, "For")[-MAX_HOPS:]):
        address = parse_address(text)
        if address is None:
            break
        environ["REMOTE_ADDR"] = str(address)
        environ.pop("REMOTE_PORT", None)
        if not is_in_networks(text, networks):
            break
        hops += 1
    return hops


def _outermost_value(environ: "WSGIEnvironment", part: str, hops: int) -> str:
    """The value from the outermost trusted proxy. Each proxy may append to the list or replace it."""
    values = _header_values(environ, part)
    return values[-min(hops, len(values))] if values else ""


def _header_values(environ: "WSGIEnvironment", part: str) -> list[str]:
    return [value.strip() for value in environ.get(_environ_key(f"X-Forwarded-{part}"), "").split(",") if value.strip()]


def _names_port(environ: "WSGIEnvironment") -> bool:
    """True if the port is in the host, or if the proxy names the scheme's default port."""
    default = str(DEFAULT_PORTS[environ["wsgi.url_scheme"]])
    return bool(re.search(r":\d+$", environ.get("HTTP_HOST", ""))) or default in _header_values(environ, "Port")


def _is_nondefault_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) not in DEFAULT_PORTS.values()


def _environ_key(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")
