"""Which client-given addresses we talk to: a policy, applied before any connection is made."""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from shared.config import Settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048
"""Characters, after percent-encoding."""
DEFAULT_PORTS = {"https": 443, "http": 80}
HOST_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]{0,252}")


def _networks(text: str) -> list[Network]:
    return [ip_network(network) for network in text.split()]


# `is_global` calls multicast and some clouds' metadata services global, and more of them in older
# Pythons: what is listed here is refused whatever the interpreter thinks of it.
V4_DENIED = _networks("""
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12
    192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
    192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
""")
# Outside of it lie NAT64 and every other wrapper of IPv4, local, site-local and multicast.
V6_ALLOWED = IPv6Network("2000::/3")
V6_DENIED = _networks("2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20")


class OutboundError(Exception):
    """Refused (not tried), or FetchFailed (tried). `reason` is one of few, fit for the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(OutboundError):
    """The guard does not allow the address; another try would not help."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What is allowed. `hosts` and `networks` skip the checks of address and port."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    allow_http: bool = True
    ports: frozenset[int] = frozenset({80, 443, 8080, 8443})
    proxy: str | None = field(default=None, repr=False)
    """With one, addresses and ports are its business; what else is wrong with a URL stays ours."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Guard":
        """The operator's policy; raises `ValueError` on an entry that is neither host nor CIDR."""
        entries = {entry.strip().lower() for entry in settings.outbound_allow.split(",")} - {""}
        hosts = {entry for entry in entries if HOST_NAME.fullmatch(entry) and not literal(entry)}
        networks = tuple(ip_network(entry) for entry in sorted(entries - hosts))
        proxy = settings.egress_proxy and settings.egress_proxy.get_secret_value()
        return cls(
            frozenset(hosts), networks, allow_http=settings.outbound_http, proxy=proxy or None
        )

    def check_url(self, url: httpx.URL) -> None:
        """All that can be said without resolving the name; raises `Refused`."""
        if url.scheme not in (DEFAULT_PORTS if self.allow_http else ("https",)):
            raise Refused("scheme not allowed")
        if url.userinfo:
            raise Refused("credentials in the URL")
        if len(str(url)) > MAX_URL:
            raise Refused("URL too long")
        self._check_host(url.raw_host.decode("ascii"), port_of(url))

    def _check_host(self, host: str, port: int) -> None:
        if port not in range(1, 2**16):
            raise Refused("port not allowed")
        address = literal(host)
        if address is None and not HOST_NAME.fullmatch(host):
            raise Refused("not a valid URL")
        if self.proxy:
            return
        if address:
            self.check_answers(host, port, [str(address)])
        elif host not in self.hosts and not self.networks:
            # With allowed networks, only the resolver knows whether the name leads into one.
            self._check_port(port)
            if f".{host.removesuffix('.')}".endswith(".localhost"):
                raise Refused("address not allowed")

    def check_answers(self, host: str, port: int, answers: Iterable[str]) -> list[Address]:
        """The addresses that a host resolved to, if all of them are allowed, or `Refused`.

        All: a name that answers with a public and a private address is an attack.
        """
        addresses = [_unwrapped(answer) for answer in dict.fromkeys(answers)]
        if host not in self.hosts:
            for address in addresses:
                self._check_address(address, port)
        return addresses

    def _check_address(self, address: Address, port: int) -> None:
        if any(address in network for network in self.networks):
            return
        if not is_public(address):
            raise Refused("address not allowed")
        self._check_port(port)

    def _check_port(self, port: int) -> None:
        if port not in self.ports:
            raise Refused("port not allowed")


def check_url(url: str, guard: Guard) -> str:
    """The URL as it will be asked for; raises `Refused` for all that needs no resolver to see."""
    if len(url) > MAX_URL:
        raise Refused("URL too long")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):  # the latter for half of a surrogate pair
        raise Refused("not a valid URL") from None
    guard.check_url(parsed)
    return str(parsed)


def port_of(url: httpx.URL) -> int:
    """The URL's port, or its scheme's."""
    return DEFAULT_PORTS[url.scheme] if url.port is None else url.port


def literal(host: str) -> Address | None:
    """The address that a host is, in any form that the system's resolver reads as one."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host.removesuffix(".")))
    except (OSError, ValueError):
        return None


def _unwrapped(text: str) -> Address:
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id:  # it means something on one link only
        raise Refused("address not allowed")
    return address.ipv4_mapped or address


def is_public(address: Address) -> bool:
    """Whether anybody's machine may be there, and none of ours."""
    if isinstance(address, IPv6Address):
        return address in V6_ALLOWED and not any(address in net for net in V6_DENIED)
    return address.is_global and not any(address in net for net in V4_DENIED)
