"""What old clients put on the wire, byte for byte."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest


@pytest.fixture
def connection(stack):
    """A connection to the service that stays open between requests."""
    address = urlsplit(stack.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        yield connection


def ask(connection, *lines, body=b""):
    """Status, headers and body of the answer to a request of these lines."""
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.headers, answer.read()


@pytest.fixture
def made(connection, stack):
    """A picture, asked for with a query string, an empty body and the key in a header."""
    status, _, body = ask(
        connection,
        "POST /api/v3/text2img?prompt=a%20red%20circle&width=64&height=64&samples=1 HTTP/1.1",
        "Host: stablediffusionapi.com",
        "Accept-Encoding: identity",
        "Content-Length: 0",
        f"key: {stack.key}",
    )
    answer = json.loads(body)
    assert (status, answer["status"]) == (200, "success"), answer
    return answer


def test_a_whole_address_as_request_target_is_read_as_its_path(connection, stack, made):
    status, headers, body = ask(
        connection,
        f"POST https://stablediffusionapi.com/api/v3/fetch/{made['id']} HTTP/1.1",
        "Host: stablediffusionapi.com",
        "Content-Length: 0",
        f"key: {stack.key}",
    )

    assert (status, json.loads(body)["id"]) == (200, made["id"])
    assert headers.get("connection") != "close"


def test_a_whole_address_keeps_its_query_string(connection, stack):
    status, _, body = ask(
        connection,
        f"POST {stack.url}/api/v3/system_load?key={stack.key} HTTP/1.1",
        "Host: stablediffusionapi.com",
        "Content-Length: 0",
    )

    assert (status, json.loads(body)["status"]) == (200, "ok")


def test_a_picture_is_given_to_who_sends_an_empty_chunked_body(connection, made):
    (link,) = made["output"]
    _, headers, body = ask(
        connection,
        f"GET {urlsplit(link).path} HTTP/1.1",
        "Host: stablediffusionapi.com",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n",
    )

    assert headers["content-type"] == "image/png"
    assert body.startswith(b"\x89PNG")
    assert ask(connection, "GET /healthz HTTP/1.1", "Host: a")[0] == 200
