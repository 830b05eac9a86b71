import asyncio
from collections.abc import Iterator

import pytest

from shared.config import Settings
from shared.egress import Guard, Refused, check_url
from shared.egress_network import GuardedNetwork
from tests.servers import HttpServer, Reply, http_server
from tests.shared.internet import (
    PIXELS,
    PRIVATE_ANSWERS,
    PUBLIC,
    Internet,
    answers,
    failure,
    fetch,
)

WORDS = """
    http://127.0.0.1/ http://127.0.0.1:8080/ http://127.1/ http://127.0.1/ http://0/ http://0.0.0.0/
    http://2130706433/ http://0x7f000001/ http://0x7f.0.0.1/ http://0177.0.0.1/ http://0177.1/
    http://017700000001/ http://127.0.0.1./ http://127。0。0。1/ http://①②⑦.⓪.⓪.①/
    http://%31%32%37.0.0.1/ http://10.0.0.1/ http://172.16.3.4/ http://192.168.1.1/ http://100.64.0.1/
    http://169.254.169.254/latest/meta-data/ http://0xa9fea9fe/ http://2852039166/
    http://100.100.100.200/ http://168.63.129.16/ http://192.0.0.192/ http://224.0.0.1/
    http://255.255.255.255/ http://240.0.0.1/ http://198.18.0.1/ http://192.0.2.1/ http://192.88.99.1/
    http://[::1]/ http://[::]/ http://[::ffff:127.0.0.1]/ http://[::ffff:a9fe:a9fe]/ http://[::127.0.0.1]/
    http://[::ffff:0:127.0.0.1]/ http://[64:ff9b::7f00:1]/ http://[64:ff9b:1::1]/ http://[2002:7f00:1::]/
    http://[2001:0:7f00:1::]/ http://[fe80::1]/ http://[fe80::1%25eth0]/ http://[fe80::1%eth0]/
    http://[fec0::1]/ http://[fd00:ec2::254]/ http://[ff02::1]/ http://[3fff::1]/ http://[5f00::1]/
    http://[2001:db8::1]/ http://localhost/ http://LOCALHOST/ http://x.localhost/ http://localhost./
    http://user:secret@good.test/ http://good.test@127.0.0.1/ http://127.0.0.1@good.test/
    http://good.test\\@127.0.0.1/ http://127.0.0.1\\.good.test/ http://good.test%2f@127.0.0.1/
    ftp://good.test/ file:///etc/passwd gopher://good.test/ dict://good.test/ unix:///run/x.sock
    data:image/png;base64,AAAA javascript:alert(1) ws://good.test/ //good.test/ good.test
    /etc/passwd
    http:good.test http:///good.test http:// https:// http://? http://: http://[/ http://[::1/
    http://good.test:22/ http://good.test:6379/ http://good.test:0/ http://good.test:65536/
    http://good.test:-1/ http://good.test:x/ http://good..test:9/ http://-good.test/ http://*.test/
"""
REFUSALS = {
    "address not allowed",
    "broken answer",
    "credentials in the URL",
    "not a valid URL",
    "port not allowed",
    "scheme not allowed",
    "too many redirects",
}
WRONG_AT_ONCE = [
    *WORDS.split(),
    "",
    " ",
    "http://good .test/",
    "http://good.test/\ud800",
    " http://127.0.0.1/",
    "http://good.test/\r\nHost: 127.0.0.1",
    "http://good.test\r\n.evil/",
    "http://good.test/\0",
    "http://127.0.0.1\0.good.test/",
    "http://good\t.test/",
    "http://good.test/" + "a" * 2048,
    "http://good.test/" + "ü" * 1000,
    "http://" + "a" * 300 + ".test/",
]


@pytest.fixture
def image_host() -> Iterator[HttpServer]:
    with http_server(lambda request: Reply(body=PIXELS)) as server:
        yield server


@pytest.mark.parametrize("url", WRONG_AT_ONCE, ids=ascii)
def test_a_wrong_url_is_refused_at_once_and_never_dialled(url: str):
    internet = Internet()

    with pytest.raises(Refused):
        check_url(url, Guard())
    with pytest.raises(Refused):
        fetch(url, internet)

    assert internet.dials == []


@pytest.mark.parametrize("host", PRIVATE_ANSWERS)
def test_a_name_that_leads_inside_passes_the_door_but_is_never_dialled(host: str):
    internet = Internet()

    assert check_url(f"http://{host}/", Guard())
    assert failure(f"http://{host}/", internet) == "address not allowed"

    assert internet.dials == []


def test_a_name_is_resolved_once_so_that_rebinding_changes_nothing(image_host: HttpServer):
    internet = Internet(image_host)
    lookups = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])

    def resolve(host: str) -> list[str]:
        return next(lookups)

    assert fetch("http://rebinding.test/", internet, resolve=resolve) == PIXELS
    assert failure("http://rebinding.test/", internet, resolve=resolve) == "address not allowed"
    assert internet.dials == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/",
        "//127.0.0.1/",
        "http://loopback.test/",
        "http://mixed.test/",
        "http://[::ffff:169.254.169.254]/",
        "http://0x7f.1:8080/",
        "http://good.test:22/",
        "http://user@good.test/",
        "file:///etc/passwd",
        "gopher://good.test/",
        "http://good.test\\@127.0.0.1/",
        "http://①.test/",
        "http://[/",
        "",
    ],
)
def test_a_redirect_is_checked_like_the_first_url(target: str):
    with http_server(
        lambda request: Reply(302, headers={"Location": target.encode().decode("latin-1")})
    ) as server:
        internet = Internet(server)

        assert failure("http://good.test/", internet) in REFUSALS

    assert set(internet.dials) == {(PUBLIC, 80)}


def test_a_redirect_to_a_rebinding_name_is_checked_again():
    lookups = iter([[PUBLIC], ["10.0.0.1"]])
    with http_server(lambda request: Reply(301, headers={"Location": "/next"})) as server:
        internet = Internet(server)

        reason = failure("http://good.test/", internet, resolve=lambda host: next(lookups))

    assert reason == "address not allowed"
    assert internet.dials == [(PUBLIC, 80)]


def test_plain_http_is_a_setting():
    https_only = Guard.from_settings(Settings(outbound_http=False))

    assert check_url("https://good.test/", https_only)
    with pytest.raises(Refused, match="scheme not allowed"):
        check_url("http://good.test/", https_only)


def test_unix_sockets_are_refused():
    network = GuardedNetwork(Guard(), answers, Internet())

    with pytest.raises(Refused):
        asyncio.run(network.connect_unix_socket("/run/x.sock"))


@pytest.mark.parametrize(
    ("url", "as_asked"),
    [
        ("https://good.test/a?b=c#d", "https://good.test/a?b=c#d"),
        ("HTTPS://GOOD.test", "https://good.test"),
        ("http://bücher.test:8080/ü", "http://xn--bcher-kva.test:8080/%C3%BC"),
        (f"http://{PUBLIC}/", f"http://{PUBLIC}/"),
        ("http://[2606:4700::1]:443/", "http://[2606:4700::1]:443/"),
    ],
)
def test_a_good_url_passes_the_door(url: str, as_asked: str):
    assert check_url(url, Guard()) == as_asked


def test_a_download_asks_plainly_and_dials_the_checked_address(image_host: HttpServer):
    internet = Internet(image_host)

    assert fetch("http://good.test:8080/a.png?b=c", internet) == PIXELS

    [request] = image_host.requests
    assert internet.dials == [(PUBLIC, 8080)]
    assert request.path == "/a.png?b=c"
    assert request.headers.pop("user-agent").startswith("img2img/")
    assert request.headers == {
        "host": "good.test:8080",
        "accept": "image/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


def test_a_mapped_address_is_dialled_as_what_it_is(image_host: HttpServer):
    internet = Internet(image_host)

    assert fetch(f"http://[::ffff:{PUBLIC}]/", internet) == PIXELS
    assert internet.dials == [(PUBLIC, 80)]


def test_the_next_address_is_tried_when_one_is_dead_but_not_for_ever(image_host: HttpServer):
    addresses = [f"93.184.216.{n}" for n in range(1, 6)]
    one_dead = Internet(image_host, dead=addresses[:1])
    all_dead = Internet(image_host, dead=addresses)

    assert fetch("http://good.test/", one_dead, resolve=lambda host: addresses) == PIXELS
    reason = failure("http://good.test/", all_dead, resolve=lambda host: addresses)

    assert reason == "could not connect"
    assert [host for host, _ in all_dead.dials] == addresses[:3]


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1"),
        (" 10.0.0.0/8, 127.0.0.0/8 ", "127.1"),
        ("127.0.0.0/8", "inside.test"),
        ("localhost", "localhost"),
        ("Inside.test", "inside.test"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
    ],
)
def test_what_the_operator_allows_skips_the_checks(allowed: str, host: str, image_host: HttpServer):
    guard = Guard.from_settings(Settings(outbound_allow=allowed))
    url = f"http://{host}:{image_host.port}/"

    assert check_url(url, guard)
    assert fetch(url, guard=guard, resolve=lambda name: ["127.0.0.1"]) == PIXELS


def test_what_the_operator_allows_opens_nothing_else():
    guard = Guard.from_settings(Settings(outbound_allow="127.0.0.1,inside.test"))
    internet = Internet()

    for url in ("http://127.0.0.2/", "http://10.0.0.1/", "http://x.inside.test/"):
        assert failure(url, internet, guard=guard, resolve=lambda host: ["10.0.0.1"])
    assert failure("http://good.test:22/", internet, guard=guard) == "port not allowed"
    assert failure("http://127.0.0.1:0/", internet, guard=guard) == "port not allowed"
    assert failure("http://127.0.0.1:65536/", internet, guard=guard) == "port not allowed"
    assert internet.dials == []


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "10.0.0.1/8", "http://x", "a b", "127.1"])
def test_a_typo_in_the_allow_list_is_not_ignored(entry: str):
    with pytest.raises(ValueError, match=entry):
        Guard.from_settings(Settings(outbound_allow=entry))
