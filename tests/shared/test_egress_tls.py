import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.egress import FetchFailed, Guard, Outbound, Refused
from tests.certificates import self_signed
from tests.servers import HttpServer, Reply, http_server
from tests.shared.internet import (
    PIXELS,
    PUBLIC,
    Internet,
    answers,
    failure,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate for good.test, in one file."""
    return self_signed(tmp_path_factory.mktemp("tls"), "good.test")


@contextmanager
def tls_server(certificate: Path, reply: Reply) -> Iterator[HttpServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with http_server(lambda request: reply, tls=context) as server:
        yield server


def fetch_tls(url: str, server: HttpServer, certificate: Path) -> bytes:
    async def run() -> bytes:
        trust = ssl.create_default_context(cafile=certificate)
        network = Internet(server)
        async with Outbound(Guard(), resolve=answers, network=network, tls=trust) as outbound:
            return await outbound.download(url)

    return asyncio.run(run())


def test_tls_verifies_the_name_and_not_the_address(certificate: Path):
    with tls_server(certificate, Reply(body=PIXELS)) as server:
        assert fetch_tls("https://good.test/", server, certificate) == PIXELS
        for wrong in ("https://other.good.test/", f"https://{PUBLIC}/"):
            with pytest.raises(FetchFailed, match="could not connect"):
                fetch_tls(wrong, server, certificate)


def test_a_redirect_does_not_lead_from_https_to_http(certificate: Path):
    downgrade = Reply(302, headers={"Location": "http://good.test/"})

    with (
        tls_server(certificate, downgrade) as server,
        pytest.raises(Refused, match="redirect from https to http"),
    ):
        fetch_tls("https://good.test/", server, certificate)


def test_an_unknown_authority_is_not_trusted(certificate: Path):
    with tls_server(certificate, Reply(body=PIXELS)) as server:
        assert failure("https://good.test/", Internet(server)) == "could not connect"
