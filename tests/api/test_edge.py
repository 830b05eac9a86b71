"""The HTTP edge, over a real server: what comes may be anything, what goes out says nothing."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest
import uvicorn
from starlette.datastructures import State

from api.app import create_app
from api.fields import (
    FREE,
    MOST_BRACKETS,
    MOST_COMMAS,
    MOST_ESCAPES,
    MOST_FORM_FIELDS,
    HeldFields,
    Room,
)
from shared.object_store import OpenObject
from tests.api.conftest import KEY, PNG
from tests.servers import free_port

pytestmark = pytest.mark.anyio

CANARY = "canary-of-the-caller"
FIELDS = {"key": KEY, "prompt": CANARY, "init_image": base64.b64encode(PNG).decode()}
PATH = "/api/v3/img2img"
WAYS = {
    "past the framework": (PATH, f"key: {KEY}"),
    "through it": (PATH, f"key: {KEY}\r\nX-Long: {'x' * 256}"),
    "v1": ("/v1/img2img", f"Authorization: Bearer {KEY}"),
    "v1 through it": ("/v1/img2img", f"Authorization: Bearer {KEY}\r\nX-Long: {'x' * 256}"),
}
"""A path, and headers."""


@dataclass(frozen=True)
class Answer:
    """What came back on a connection."""

    status: int
    head: str
    body: bytes


@dataclass(frozen=True)
class Edge:
    """A server to be talked to in bytes."""

    port: int
    state: State

    async def say(self, sent: bytes, most: int = 1) -> list[Answer]:
        """So many answers to these bytes, fewer if the server ends the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        answers: list[Answer] = []
        while len(answers) < most and (head := await _head(reader)):
            status = int(head.split()[1])
            length = re.search(r"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            answers.append(Answer(status, head, body))
        writer.close()
        return answers

    async def post(self, body: bytes, *lines: str, way: tuple[str, str] = (PATH, "X: y")) -> Answer:
        """The answer to one request with a declared length."""
        path, headers = way
        head = request_head("POST", path, f"Content-Length: {len(body)}", headers, *lines)
        [answer] = await self.say(head + body)
        return answer


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return ""


def request_head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: door", *lines, "", ""]).encode()


def chunked(*chunks: bytes) -> bytes:
    sized = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
    return b"".join(sized) + b"0\r\n\r\n"


@pytest.fixture
async def serve(settings, anyio_backend) -> AsyncIterator:
    """Starts the API with other settings."""
    running = []

    async def serve(**changes) -> Edge:
        app = create_app(settings.model_copy(update=changes))
        config = uvicorn.Config(
            app, port=(port := free_port()), http="httptools", log_level="critical",
            server_header=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        running.append((server, asyncio.create_task(server.serve())))
        while not server.started:
            await asyncio.sleep(0.005)
        return Edge(port, app.state)

    yield serve
    for server, task in running:
        server.should_exit = True
        await task


@pytest.fixture
async def edge(serve) -> Edge:
    return await serve()


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request) -> tuple[str, str]:
    return request.param


def says_nothing(answer: Answer) -> bool:
    return CANARY.encode() not in answer.body and KEY.encode() not in answer.body


def blamed(answer: Answer) -> list[str]:
    """The fields that it says are wrong."""
    body = json.loads(answer.body)
    return [body["error"]["param"]] if "error" in body else [*body["message"]]


def message(answer: Answer) -> str:
    """Of a refusal that is about no field."""
    body = json.loads(answer.body)
    return body.get("error", body)["message"]


async def test_numbers_that_are_none_are_refused_by_the_field(edge, way):
    for text in ("NaN", "Infinity", "-Infinity", "1e400", "true", "[]", "1" + "0" * 30):
        for field in ("strength", "seed", "width", "num_inference_steps"):
            body = json.dumps(FIELDS | {field: "HERE"}).replace('"HERE"', text)
            answer = await edge.post(body.encode(), way=way)
            assert (answer.status, says_nothing(answer)) == (400, True), (text, field)
            assert blamed(answer) == [field], text


async def test_texts_that_are_none_are_refused_by_the_field(edge, way):
    for text in ('"\\ud800"', '"a\\u0000b"', '["a"]', "{}", "true"):
        body = json.dumps(FIELDS).replace(f'"{CANARY}"', text)
        answer = await edge.post(body.encode(), way=way)
        assert (answer.status, says_nothing(answer)) == (400, True), text
        assert blamed(answer) == ["prompt"]


async def test_every_type_of_track_id_is_taken(edge, way):
    for value in (True, 0, 10**30, 1.5, "", [], [1, None], {"a": {"b": "ü"}}, None):
        answer = await edge.post(json.dumps(FIELDS | {"track_id": value}).encode(), way=way)
        assert answer.status in (200, 202), value


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MOST_BRACKETS,
        b'{"a":' * MOST_BRACKETS,
        b"\xff\xfe\x00",
        b'{"prompt": "' + b"1" * 10,
        b"9" * 5000,
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"null",
        b'"text"',
    ],
    ids=["lists", "objects", "bytes", "cut", "number", "long seed", "null", "text"],
)
async def test_a_body_that_is_no_object_is_unreadable(edge, way, body):
    answer = await edge.post(body, way=way)

    assert answer.status == 400
    assert message(answer) == "Invalid API Request"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a":[' + b"[]," * MOST_BRACKETS + b"1]}", "JSON must have at most 10000 brackets"),
        (b'{"a":[' + b"1," * (MOST_COMMAS + 1) + b"1]}", "JSON must have at most 10000 brackets"),
        (b"a=&" * (MOST_FORM_FIELDS + 1), "form must have at most 1000 fields"),
        (b"a=" + b"%41" * (MOST_ESCAPES + 1), "fields and 1200000 escapes"),
    ],
    ids=["brackets", "commas", "form", "escapes"],
)
async def test_a_body_of_too_many_parts_is_not_taken_apart(edge, body, reason):
    kind = "application/json" if body.startswith(b"{") else "application/x-www-form-urlencoded"

    answer = await edge.post(body, f"key: {KEY}", f"Content-Type: {kind}")

    assert answer.status == 400
    assert reason in json.loads(answer.body)["message"]


async def test_a_body_in_utf_16_or_with_a_field_twice_is_one_object_to_all(edge, way):
    twice = json.dumps(FIELDS).replace("{", '{"key": "nobody", ', 1)

    for body in (json.dumps(FIELDS).encode("utf-16"), twice.encode()):
        answer = await edge.post(body, way=way)
        assert answer.status in (200, 202), answer.body


async def test_a_large_body_is_refused_as_soon_as_it_shows(serve):
    edge = await serve(max_body=100_000)
    declared = request_head("POST", PATH, "Content-Length: 100001")
    streamed = request_head("POST", PATH, "Transfer-Encoding: chunked")

    for request in (declared, streamed + chunked(*[b"x" * 10_000] * 11)):
        [answer] = await edge.say(request)
        assert answer.status == 413
        assert "connection: close" in answer.head


async def test_a_body_that_does_not_come_is_not_waited_for(serve):
    edge = await serve(body_time=timedelta(milliseconds=50))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request_head("POST", PATH, "Content-Length: 1000") + b"{")

    async with asyncio.timeout(10):
        everything = await reader.read()

    writer.close()
    assert everything.startswith(b"HTTP/1.1 408")
    assert b'"status":"error"' in everything


async def test_a_body_that_stops_is_not_waited_for_however_much_came(serve):
    edge = await serve(body_time=timedelta(milliseconds=50), body_rate=1)
    head = request_head("POST", PATH, "Content-Length: 200000")

    async with asyncio.timeout(10):
        [answer] = await edge.say(head + b" " * 100_000)

    assert answer.status == 408


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (PATH, "key: nobody"),
        (f"{PATH}?key=nobody", "X: y"),
        ("/v1/text2img", "Authorization: Bearer nobody"),
        ("/v1/text2img", "X: y"),
        (f"/v1/uploads?key={KEY}", "X: y"),
    ],
)
async def test_who_comes_without_a_good_key_is_refused_before_the_body_comes(edge, path, line):
    [answer] = await edge.say(request_head("POST", path, "Content-Length: 1000", line))

    assert answer.status == 401


async def test_bodies_of_all_requests_together_have_a_bound(serve):
    edge = await serve(body_memory=400_000)
    _, held = await hold(edge, FREE + 250_000, f"key: {KEY}")
    refused = await edge.post(padded(FREE + 100_000), f"key: {KEY}")

    held.close()
    accepted = await _until_there_is_room(edge, f"key: {KEY}")

    assert (refused.status, "retry-after: 5" in refused.head) == (503, True)
    assert json.loads(accepted.body)["status"] == "processing"


async def test_bodies_of_nobody_known_leave_room_for_those_with_a_key_and_for_small_ones(serve):
    edge = await serve(body_memory=800_000)
    _, held = await hold(edge, FREE + 150_000)
    unknown = await edge.post(padded(FREE + 100_000))
    known = await edge.post(padded(FREE + 100_000), f"key: {KEY}")
    small = await edge.post(padded(FREE // 2))

    held.close()
    await _until_there_is_room(edge)

    assert (unknown.status, known.status, small.status) == (503, 200, 200)


async def hold(edge: Edge, size: int, *lines: str):
    """A connection on which all of a body has come but its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request_head("POST", PATH, f"Content-Length: {size + 1}", *lines) + b" " * size)
    while edge.state.lobby.used + edge.state.room.used < size - FREE:
        await asyncio.sleep(0.001)
    return reader, writer


def padded(size: int) -> bytes:
    return json.dumps(FIELDS | {"padding": "x" * size}).encode()


async def _until_there_is_room(edge: Edge, *lines: str) -> Answer:
    async with asyncio.timeout(10):
        while (answer := await edge.post(padded(FREE + 100_000), *lines)).status == 503:
            pass
    return answer


async def test_who_does_not_take_an_image_holds_a_piece_of_it_and_not_for_ever(serve, monkeypatch):
    edge = await serve(body_time=timedelta(milliseconds=50), body_rate=2**30)
    store, key, size = edge.state.door.store, f"uploads/{'5' * 32}.png", 32 * 2**20
    store.put(key, PNG + bytes(size - len(PNG)), "image/png")
    reads, closed, read, close = [], asyncio.Event(), OpenObject.read, OpenObject.close
    monkeypatch.setattr(OpenObject, "read", lambda *args: reads.append(args[1]) or read(*args))
    tell = partial(asyncio.get_running_loop().call_soon_threadsafe, closed.set)
    monkeypatch.setattr(OpenObject, "close", lambda one: (tell(), close(one)))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request_head("GET", f"/{key}"))

    async with asyncio.timeout(10):
        await closed.wait()  # and nothing was taken until then
        taken = await reader.read()

    writer.close()
    assert taken.startswith(b"HTTP/1.1 200")
    assert len(taken) - 2**12 < sum(reads) < size


def test_a_body_whose_owner_is_known_leaves_the_lobby():
    lobby, room = Room(10), Room(10)
    fields = HeldFields(lobby)
    fields.take(FREE + 7)

    fields.move(room)
    assert (lobby.used, room.used) == (0, 7)

    fields.clear()
    assert (lobby.used, room.used) == (0, 0)


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -1",),
        ("Content-Length: 5, 5",),
        ("Transfer-Encoding: identity, chunked, x",),
        (" folded: header",),
        ("No colon",),
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_ends_the_connection(edge, lines):
    smuggled = request_head("GET", "/healthz")
    sent = request_head("POST", PATH, *lines) + b"0\r\n\r\n" + smuggled

    answers = await edge.say(sent, most=2)

    assert [answer.status for answer in answers] == [400]


@pytest.mark.parametrize(
    "request_bytes",
    [
        request_head("GET", "/healthz", f"X-Long: {'x' * 2**20}"),
        request_head("GET", "/healthz?" + "x" * 2**20),
        request_head("GET", "/" + "x" * 2**20),
        request_head("GET", "/healthz", *(f"X-{n}: {'x' * 30}" for n in range(10_000))),
    ],
    ids=["header", "query", "path", "flood"],
)
async def test_an_endless_head_is_refused(edge, request_bytes):
    [answer] = await edge.say(request_bytes)

    assert answer.status in (400, 431)


async def test_requests_may_come_in_a_row_and_in_other_forms(edge):
    row = request_head("GET", "/healthz") * 3
    absolute = request_head("GET", "http://door/healthz")
    empty = request_head("GET", "/healthz", "Transfer-Encoding: chunked") + chunked()

    answers = await edge.say(row + absolute + empty, most=5)

    assert [answer.status for answer in answers] == [200] * 5


async def test_an_answer_is_nobody_elses_and_does_not_name_the_server(edge):
    refused = await edge.post(b"{}")
    [found] = await edge.say(request_head("GET", "/healthz"))
    [unknown] = await edge.say(request_head("GET", "/nowhere"))

    for answer in (refused, found, unknown):
        assert "x-content-type-options: nosniff" in answer.head
        assert "referrer-policy: no-referrer" in answer.head
        assert "cache-control: no-store" in answer.head
        assert "\r\nserver:" not in answer.head


async def test_a_refused_method_is_told_every_allowed_one(edge):
    [answer] = await edge.say(request_head("PUT", "/api/v3/fetch/1"))

    assert answer.status == 405
    assert "\r\nallow: get, post\r\n" in answer.head
