"""The host's rules for services: which addresses Beacon connects to, and which variables may hold passwords.

People who add a service in the browser choose its address and the variable of its password. Neither may give access to
what belongs to the host: the credentials that clouds serve at link-local addresses, other programs' secrets in the
environment, or their sockets.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import PurePosixPath

from app.sources.source_errors import SourceError

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
OWN_VARIABLES = "BEACON_"
PASSWORD_PREFIX = "BEACON_SOURCE_"  # noqa: S105 -- the beginning of a name
NETWORKS_SETTING = "BEACON_ALLOWED_NETWORKS"
SOCKETS_SETTING = "BEACON_ALLOWED_SOCKETS"
PREFIXES_SETTING = "BEACON_PASSWORD_ENV_PREFIXES"
# The most specific description first: an address may be in several.
_REFUSED_NETWORKS: tuple[tuple[str, tuple[Network, ...]], ...] = (
    (
        "one at which a cloud hands out credentials",
        tuple(
            map(
                ip_network,
                (
                    "169.254.169.254/32",
                    "169.254.170.2/32",  # Amazon, for containers
                    "169.254.170.23/32",
                    "fd00:ec2::254/128",
                    "fd00:ec2::23/128",
                    "fd20:ce::254/128",  # Google
                    "100.100.100.200/32",  # Alibaba
                    "168.63.129.16/32",  # Azure
                    "192.0.0.192/32",  # Oracle
                ),
            )
        ),
    ),
    ("link-local", (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))),
    ("an unspecified address", (ip_network("0.0.0.0/8"), ip_network("::/128"))),
    ("a multicast address", (ip_network("224.0.0.0/4"), ip_network("ff00::/8"))),
    ("a reserved address", (ip_network("240.0.0.0/4"),)),
)
_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")


class ForbiddenAddress(SourceError):
    """Beacon does not connect to this address. The reason says why and what to do."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses services may have. `allowed`: networks that the host permits as exceptions.

    `sockets`: the Unix sockets, and folders of them, that the host permits. None permits all: the services file belongs
    to the host, as its sockets do.
    """

    allowed: tuple[Network, ...] = ()
    sockets: tuple[str, ...] | None = None

    def explain_refusal(self, address: str) -> str | None:
        """Return why Beacon does not connect to this address; None if it may, and None for host names."""
        try:
            given = ip_address(address)
        except ValueError:
            return None
        for ip in _with_wrapped(given):
            if any(ip in network for network in self.allowed):
                return None
            for kind, networks in _REFUSED_NETWORKS:
                if any(ip in network for network in networks):
                    return f"has the address {given}, which is {kind}; {NETWORKS_SETTING} can allow it"
        return None

    def explain_refused_socket(self, path: str) -> str | None:
        """Return why Beacon does not connect to the Unix socket at this path; None if it may."""
        given = PurePosixPath(path)
        if self.sockets is None:
            return None
        if ".." not in given.parts and any(given.is_relative_to(allowed) for allowed in self.sockets):
            return None
        return f"has the address of a Unix socket, which belongs to this host; {SOCKETS_SETTING} can allow it"

    def resolve(self, host: str, port: int) -> list[str]:
        """Resolve `host` to the addresses to connect to, in order. Raises `ForbiddenAddress`, `socket.gaierror`.

        Called for each connection, which then uses exactly these addresses. So a name that resolves differently a
        moment later (DNS rebinding) has no effect.
        """
        if _is_address(host):
            found = [host]
        else:
            # A name may resolve to the same address for each protocol. Keep the resolver's order.
            known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(address[0]) for *_, address in known))
        refusals = {address: self.explain_refusal(address) for address in found}
        usable = [address for address, refusal in refusals.items() if refusal is None]
        if not usable:
            why = next(filter(None, refusals.values()), "has an address whose name cannot be resolved")
            raise ForbiddenAddress(why)
        return usable


@dataclass(frozen=True, slots=True)
class HostRules:
    """`password_prefixes`: the prefixes of variables that services added by people may take their passwords from."""

    password_prefixes: tuple[str, ...] = (PASSWORD_PREFIX,)
    reach: Reach = field(default_factory=Reach)

    def refused_variable(self, name: str) -> str | None:
        """Return what to do instead if this variable must not hold a service's password; None if it may."""
        if is_own_variable(name):
            return (
                f"{OWN_VARIABLES}… are Beacon's own settings; "
                f"give the variable a name that begins with {self._prefix_list}"
            )
        if name.startswith(self.password_prefixes):
            return None
        return (
            f"give the variable a name that begins with {self._prefix_list}, or let {PREFIXES_SETTING} allow this one"
        )

    @property
    def _prefix_list(self) -> str:
        return " or ".join(self.password_prefixes)


def is_own_variable(name: str) -> bool:
    """True for Beacon's own settings, which must not be used as service passwords."""
    return name.upper().startswith(OWN_VARIABLES) and not name.startswith(PASSWORD_PREFIX)


def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Parse networks in CIDR notation. Raises `ValueError`."""
    return tuple(ip_network(text, strict=False) for text in texts)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _with_wrapped(ip: Ip) -> Iterator[Ip]:
    """Yield the address itself and the IPv4 address that it embeds, if any."""
    yield ip
    if isinstance(ip, IPv4Address):
        return
    wrapped = ip.ipv4_mapped or ip.sixtofour
    if wrapped is None and (ip in _NAT64 or ip in _COMPATIBLE) and int(ip) & 0xFFFFFFFF > 1:
        wrapped = IPv4Address(int(ip) & 0xFFFFFFFF)
    if wrapped is not None:
        yield wrapped
