"""What the explorer's server answers, and what it refuses: hundreds of hostile requests, each over its own socket."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of, small_model
from PIL import Image

from genkit.contract import ability
from genkit.data.dataset import Dataset
from genkit.explore import server as serving
from genkit.explore.server import STATIC, Server
from genkit.explore.space import Space

#: Seconds in which a request must have arrived, here.
PATIENCE = 1.0
LATENT = 5
#: In so many parts a search looks at its thousand draws.
LOOKS = 32
BINARY, JSON = "application/octet-stream", "application/json"
POSTS = ("decode", "under", "place", "originals", "codes", "seeds", "near", "sum", "file")
#: Of every answer, refusals too.
PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def space_of(model: str, dataset: Dataset, limit: int) -> Space:
    torch.manual_seed(1)
    built = small_model(model, dataset.shape, hidden=(32,), latent_dim=LATENT, width=4).eval().requires_grad_(False)
    assert ability.generates(built)
    names = (dataset.name, dataset.classes, dataset.attributes)
    return Space(built, "a run", lambda: dataset, names, limit=limit)


def started(space: Space) -> Iterator[Server]:
    with serving.listen(0) as listening:
        server = Server(space, listening, patience=PATIENCE)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:  # or a test that failed would never end
        server.shutdown()
        thread.join()
    with pytest.raises(serving.Refused, match="has ended"):
        server.desk.alone(len, "")


@pytest.fixture(scope="module")
def server(digits: Dataset) -> Iterator[Server]:
    """A VAE's server; all that is asked of it in this file is asked of the same one."""
    yield from started(space_of("vae", digits, 100))


@pytest.fixture(scope="module")
def searching(digits: Dataset) -> Iterator[Server]:
    """The server of a model without an encoder."""
    yield from started(space_of("dcgan", digits, 40))


def exchange(server: Server, request: bytes, *rest: bytes, wait: float = 0.0, finish: bool = True) -> bytes:
    """All that the server sends back. `rest` is sent `wait` seconds apart; `finish` says that nothing more comes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        try:
            for piece in (request, *rest):
                connection.sendall(piece)
                time.sleep(wait)
            if finish:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # it has refused, and closed, before it had heard everything
            pass
        answer = b""
        try:
            while piece := connection.recv(1 << 16):
                answer += piece
        except ConnectionResetError:
            pass
    return answer


def read(answer: bytes) -> Reply:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.[01] (\d{3}) .+", first)
    assert match, answer[:200]
    headers = dict(line.split(": ", 1) for line in lines)
    if headers.get("Transfer-Encoding") == "chunked":
        body = b"".join(re.findall(rb"[0-9a-f]+\r\n(.*\n)\r\n", body))
    return Reply(int(match[1]), headers, body)


def request(
    server: Server, method: str, name: str, body: bytes | None = None, kind: str | None = BINARY, **headers: str | None
) -> bytes:
    """A request as the page sends it, or with other headers; `None` leaves one out."""
    fields: dict[str, str | None] = {"Host": f"127.0.0.1:{server.port}"}
    if body is not None:
        fields |= {"Content-Type": kind, "Content-Length": str(len(body))}
    fields |= {key.replace("_", "-"): value for key, value in headers.items()}
    lines = [f"{method} /{server.desk.token}/{name} HTTP/1.1"]
    lines += [f"{key}: {value}" for key, value in fields.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def ask(server: Server, name: str, body: bytes | None = None, kind: str = BINARY, **headers: str | None) -> Reply:
    return read(exchange(server, request(server, "GET" if body is None else "POST", name, body, kind, **headers)))


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def integers(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def answers_rightly(server: Server) -> None:
    code, pixels = server.desk.space.under(0.25, -0.5)
    reply = ask(server, "under", floats(0.25, -0.5))
    assert reply.status == 200
    assert reply.body == code.numpy().tobytes() + pixels.numpy().tobytes()


# ---------------------------------------------------------------------------------------------------------------------
# What is answered
# ---------------------------------------------------------------------------------------------------------------------


def test_the_page_and_its_parts_are_served_with_their_types(server: Server) -> None:
    for name, kind in STATIC.items():
        reply = ask(server, name)
        assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
        assert reply.body == (Path(serving.__file__).parent / "static" / name).read_bytes()
        assert all(reply.headers[key] == value for key, value in PROTECTION.items())
        policy = set(reply.headers["Content-Security-Policy"].split("; "))
        assert policy >= {"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"}
        assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert ask(server, "").body == ask(server, "index.html").body


def test_what_the_page_begins_with_is_the_spaces(server: Server) -> None:
    space = server.desk.space
    assert json.loads(ask(server, "about.json").body) == space.about()
    assert ask(server, "points.bin").body == space.points().numpy().astype("<f4").tobytes()
    labels = np.frombuffer(ask(server, "labels.bin").body, "<i2")
    assert space.split is not None
    assert labels.tolist() == space.split.labels.tolist()  # type: ignore[union-attr]


def test_codes_and_images_go_and_come_as_little_endian_numbers(server: Server) -> None:
    space = server.desk.space
    codes = space.codes(torch.tensor([3, 77]))
    assert ask(server, "codes", integers(3, 77)).body == codes.numpy().tobytes()
    assert ask(server, "decode", codes.numpy().tobytes()).body == space.decode(codes).numpy().tobytes()
    assert ask(server, "originals", integers(3, 77)).body == space.originals(torch.tensor([3, 77])).numpy().tobytes()
    assert ask(server, "place", codes.numpy().tobytes()).body == space.place(codes).numpy().tobytes()
    near = np.frombuffer(ask(server, "near", codes[0].numpy().tobytes()).body, "<i4")
    assert near.tolist() == space.near(codes[0]).tolist()
    seeds = [0, 7, 2**32 - 1]
    assert ask(server, "seeds", struct.pack("<3I", *seeds)).body == space.seeds(seeds).numpy().tobytes()
    assert len(ask(server, "decode", floats(*[0.5] * 64 * LATENT)).body) == 64 * 784


def test_a_sum_comes_as_json(server: Server) -> None:
    space = server.desk.space
    pixels = base64.b64encode(bytes(range(196)) * 4).decode()
    terms = [{"sign": 1, "term": "label:7"}, {"sign": -1, "term": {"code": [0.5] * LATENT, "pixels": pixels}}]
    reply = ask(server, "sum", json.dumps({"terms": terms}).encode(), JSON)
    result = json.loads(reply.body)
    assert reply.headers["Content-Type"] == JSON
    seven = space.sum([serving.Term(1, "label:7")])
    assert result["code"] == pytest.approx((seven.code - 0.5).tolist())
    assert result["terms"] == [{"images": seven.terms[0]}, {"images": []}]
    control = np.frombuffer(base64.b64decode(result["control"]), np.uint8).astype(int)
    expected = seven.control.flatten().numpy().astype(int) - np.arange(784) % 196
    assert np.abs(control - expected.clip(0, 255)).max() <= 1
    assert len(result["near"]) == 8


def png(width: int = 28, height: int = 28) -> bytes:
    content = io.BytesIO()
    Image.fromarray((np.arange(width * height) % 251).astype(np.uint8).reshape(height, width)).save(content, "PNG")
    return content.getvalue()


def test_a_file_comes_back_as_its_code_and_place(server: Server) -> None:
    reply = ask(server, "file", png())
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    (line,) = map(json.loads, reply.body.splitlines())
    (found,) = server.desk.space.file(server.desk.space.read(png()))
    assert found.code is not None
    assert line["code"] == found.code.tolist()
    assert list(base64.b64decode(line["pixels"])) == (np.arange(784) % 251).tolist()


def test_a_search_tells_how_far_it_is_until_another_takes_its_place(searching: Server) -> None:
    with socket.create_connection(("127.0.0.1", searching.port), timeout=20) as first:
        first.sendall(request(searching, "POST", "file", png()))
        said = first.recv(100)
        assert b"200 OK" in said
        answers_rightly(searching)  # a drag isn't kept waiting
        reply = ask(searching, "file", png())
        lines = [json.loads(line) for line in reply.body.splitlines()]
        assert lines[:-1] == [{"done": max(0, done), "of": 300} for done in range(1 - LOOKS, 300)]
        assert lines[-1].keys() == {"code", "pixels", "place"}
        while piece := first.recv(1 << 16):
            said += piece
    *before, last = read(said).body.splitlines()
    assert len(before) < 300
    assert "another image" in json.loads(last)["error"]


def test_who_goes_away_leaves_nothing_behind(searching: Server) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", searching.port), timeout=20) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # by a reset
            gone.sendall(request(searching, "POST", "file", png()) + b"more")
            assert b"200 OK" in gone.recv(100)
    assert ask(searching, "file", png()).body.count(b"\n") == LOOKS + 300
    answers_rightly(searching)


def test_images_that_a_sum_needs_are_loaded_once_and_nobody_else_waits(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genkit.explore.space.SEARCH", 2)
    space = space_of("dcgan", digits, 40)
    loads: list[str] = []
    loading, loaded = threading.Event(), threading.Event()

    def load() -> Dataset:
        loads.append(threading.current_thread().name)
        loading.set()
        assert loaded.wait(60)
        return digits

    space.load = load
    body = b'{"terms": [{"sign": 1, "term": "label:3"}]}'
    with contextmanager(started)(space) as server, ThreadPoolExecutor(2) as people:
        try:
            sums = [people.submit(ask, server, "sum", body, JSON) for _ in range(2)]
            assert loading.wait(20)
            answers_rightly(server)
        finally:
            loaded.set()
        assert [each.result().status for each in sums] == [200, 200]
    assert len(loads) == 1, loads


def test_it_goes_by_both_of_its_names_and_for_its_own_page(server: Server) -> None:
    for name in ("127.0.0.1", "localhost", "LocalHost"):
        host = f"{name}:{server.port}"
        assert ask(server, "about.json", Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin").status == 200
    assert ask(server, "", Sec_Fetch_Site="none").status == 200


def test_it_listens_on_the_loopback_interface_alone(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert len(server.desk.token) == 32


def test_parallel_questions_get_each_its_own_answer(server: Server) -> None:
    answers: dict[float, bytes] = {}

    def drag(x: float) -> None:
        answers[x] = ask(server, "under", floats(x, 0.0)).body

    threads = [threading.Thread(target=drag, args=(x / 4,)) for x in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, body in answers.items():
        assert body[: 4 * LATENT] == server.desk.space.under(x, 0.0)[0].numpy().tobytes()
    assert len(answers) == 40


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------


class Hostile(NamedTuple):
    """A request that must be refused.

    Attributes:
        name: what it tries.
        raw: what is sent; {port} and {token} stand for the server's.
        statuses: those with which it may be refused.
    """

    name: str
    raw: bytes
    statuses: tuple[int, ...]

    def filled_in(self, server: Server) -> bytes:
        return self.raw.replace(b"{port}", str(server.port).encode()).replace(b"{token}", server.desk.token.encode())


GOOD = "Host: 127.0.0.1:{port}\r\n"


def get(
    name: str, target: str, *statuses: int, lines: str = GOOD, method: str = "GET", version: str = "HTTP/1.1"
) -> Hostile:
    return Hostile(name, f"{method} {target} {version}\r\n{lines}\r\n".encode("latin-1"), statuses)


def post(
    name: str,
    question: str,
    body: bytes,
    *statuses: int,
    kind: str | None = BINARY,
    length: str | None = "",
    more: str = "",
) -> Hostile:
    """A POST; `length` is that of the body, where nothing else is said, and None is none."""
    lines = f"POST /{{token}}/{question} HTTP/1.1\r\n{GOOD}{more}"
    lines += "" if kind is None else f"Content-Type: {kind}\r\n"
    lines += "" if length is None else f"Content-Length: {length or len(body)}\r\n"
    return Hostile(f"{name} {question}", f"{lines}\r\n".encode("latin-1") + body, statuses)


def traversals() -> Iterator[Hostile]:
    ways = (
        "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%252f", "%252e%252e%252f", "..\\", "..%5c", "%c0%ae%c0%ae/",
        "..%c0%af", "..;/", "....//", "./../", "%2e./", "..%00/", "..%ef%bc%8f", "//", "/",
    )  # fmt: skip
    for way, times in itertools.product(ways, (1, 6)):
        yield get(f"traversal {way}x{times}", f"/{{token}}/{way * times}etc/passwd", 404, 400)
    for target in (
        "/{token}/page.css%00.js", "/{token}/page.css/", "/{token}/page.css/..", "/{token}/./page.css",
        "/{token}//page.css",
        "/{token}/%70age.css", "/{token}/PAGE.CSS", "/{token}/page.css?x=../../etc/passwd",
        "/{token}/?file=/etc/passwd",
        "/{token}/index.html#x", "//{token}/page.css", "/{token}/../{token}/page.css", "/%7Btoken%7D/page.css",
        "/{token}/static/page.css", "/{token}/server.py", "/{token}/../server.py", "/{token}/decoder.js", "/{token}/.",
        "/{token}/con", "/{token}/file:///etc/passwd", "/etc/passwd", "/", "", "*", "/{token}", "/{token}/etc/passwd",
        "/{token}/about.json;x", "/{token}/a" + "/a" * 120,
    ):  # fmt: skip
        yield get(f"target {target[:40]}", target or " ", 404, 400)


def senders() -> Iterator[Hostile]:
    for host in (
        "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost", "127.0.0.1:{port}.evil.example",
        "127.0.0.1.evil.example:{port}", "evil.example@127.0.0.1:{port}", "127.0.0.1:{port}@evil.example",
        "0.0.0.0:{port}",
        "127.0.0.2:{port}", "[::1]:{port}", "2130706433:{port}", "0x7f.1:{port}", "localhost.:{port}",
        "127.1:{port}", "",
        "127.0.0.1:{port}, evil.example", "127.0.0.1:{port} evil.example", "127.0.0.1:0{port}", "\xe9vil:{port}",
    ):  # fmt: skip
        yield get(f"host {host}", "/{token}/about.json", 403, 400, lines=f"Host: {host}\r\n")
    yield get("no host", "/{token}/about.json", 403, 400, lines="")
    yield get("no host, HTTP/1.0", "/{token}/about.json", 403, 400, lines="", version="HTTP/1.0")
    yield get("two hosts", "/{token}/about.json", 400, lines=GOOD + "Host: evil.example\r\n")
    yield get("the same host twice", "/{token}/about.json", 400, lines=GOOD + GOOD)
    yield get("host with a blank", "/{token}/about.json", 403, 400, lines=GOOD.replace("Host:", "Host :"))
    yield get("host on two lines", "/{token}/about.json", 403, 400, lines=GOOD + " evil.example\r\n")
    for origin in (
        "http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1", "http://localhost:1",
        "file://", "",
        "http://127.0.0.1:{port}.evil.example", "http://127.0.0.1:{port}/", "chrome-extension://abc",
        "http://[::1]:{port}",
    ):  # fmt: skip
        for lines, question in ((GOOD, "about.json"), (GOOD, "under")):
            method = "GET" if question == "about.json" else "POST"
            more = "" if method == "GET" else f"Content-Type: {BINARY}\r\nContent-Length: 0\r\n"
            raw = f"{lines}Origin: {origin}\r\n{more}"
            yield get(f"origin {origin} {method}", f"/{{token}}/{question}", 403, lines=raw, method=method)
    yield get("two origins", "/{token}/about.json", 400, lines=GOOD + "Origin: http://127.0.0.1:{port}\r\n" * 2)
    for site in ("cross-site", "same-site", "", "SAME-ORIGIN2", "none, cross-site"):
        yield get(f"site {site}", "/{token}/about.json", 403, lines=f"{GOOD}Sec-Fetch-Site: {site}\r\n")


def tokens() -> Iterator[Hostile]:
    for token in (
        "x",
        "{token}x",
        "x{token}",
        "{token}{token}",
        "A" * 32,
        "%s",
        "-",
        "null",
        "0" * 190,
        "{token}.",
        "_{token}",
    ):
        for name in ("", "about.json", "page.js"):
            yield get(f"token {token[:20]} {name}", f"/{token}/{name}", 404)
    yield get("token as a parameter", "/?token={token}", 404)


NUMBERS = {
    "NaN": floats(float("nan")), "-NaN": struct.pack("<I", 0xFFC00001), "inf": floats(float("inf")),
    "-inf": floats(float("-inf")), "1e7": floats(1e7), "-1e7": floats(-1e7), "largest": struct.pack("<I", 0x7F7FFFFF),
    "just beyond": floats(1000001.0),
}  # fmt: skip


def numbers() -> Iterator[Hostile]:
    width = {"decode": LATENT, "place": LATENT, "near": LATENT, "under": 2}
    for question, count in width.items():
        for what, number in NUMBERS.items():
            for place in (0, count - 1):
                body = floats(*[0.5] * place) + number + floats(*[0.5] * (count - 1 - place))
                yield post(f"{what} at {place}", question, body, 400)
        for size in (0, 1, 3, 4 * count - 1, 4 * count + 1, 4 * count - 4, 4 * count + 4):
            yield post(f"{size} bytes", question, b"\0" * size, 400)
        most = 64 if question in ("decode", "place") else 1
        yield post("one too many", question, b"\0" * (4 * count * (most + 1)), 400)
    yield post("NaN in the last code", "decode", floats(*[0.5] * (64 * LATENT - 1)) + NUMBERS["NaN"], 400)
    for question in ("originals", "codes"):
        for index in (-1, 100, 2**31 - 1, -(2**31)):
            yield post(f"index {index}", question, integers(index), 400)
            yield post(f"index {index} among others", question, integers(0, 99, index), 400)
    for question in ("originals", "codes", "seeds"):
        for size in (0, 1, 2, 3, 5, 7, 4 * 65):
            yield post(f"{size} bytes", question, b"\0" * size, 400)


def bodies() -> Iterator[Hostile]:
    right = floats(0.5, 0.5)
    for kind in (
        None,
        "text/plain",
        JSON,
        "",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "*/*",
    ):
        yield post(f"type {kind}", "under", right, 415, 400, kind=kind)
    for kind in (None, "text/plain", BINARY, "application/json; charset=utf-7", "text/json"):
        yield post(f"type {kind}", "sum", b'{"terms":[{"sign":1,"term":"seed:1"}]}', 415, kind=kind)
    yield post("two types", "under", right, 400, more="Content-Type: text/plain\r\n")
    for name in POSTS:
        kind = JSON if name == "sum" else BINARY
        yield post("no length", name, right, 411, kind=kind, length=None)
        yield post("a length, far too large", name, b"", 413, kind=kind, length="999999999999")
        yield post(
            "chunked",
            name,
            b"8\r\n" + right + b"\r\n0\r\n\r\n",
            411,
            kind=kind,
            length=None,
            more="Transfer-Encoding: chunked\r\n",
        )
    for length in (
        "-1",
        "+8",
        "8.0",
        "8,8",
        "0x8",
        "1e1",
        "8 8",
        "eight",
        "\xb2",
        "9" * 400,
        "-0",
        "٨".encode().decode("latin-1"),
    ):
        yield post(f"length {length[:20]}", "under", right, 400, 413, length=length)
    yield post("two lengths", "under", right, 400, more="Content-Length: 9\r\n")
    yield post("the same length twice", "under", right, 400, more="Content-Length: 8\r\n")
    yield post("length and chunks", "under", right, 411, more="Transfer-Encoding: chunked\r\n")
    yield post("chunks of another case", "under", right, 411, more="Transfer-Encoding: xchunked\r\n")
    yield post("too short a body", "under", right[:5], 400, length="8")
    yield post("no body", "under", b"", 400, length="8")
    yield post("too large a body", "under", b"\0" * 70_000, 413)
    yield post("too large a body", "decode", b"\0" * 70_000, 413)
    yield post("too large a body", "sum", b" " * 90_000, 413, kind=JSON)
    yield post("expects to go on", "under", b"", 413, length="99999999", more="Expect: 100-continue\r\n")
    yield get("a body to GET", "/{token}/about.json", 400, lines=f"{GOOD}Content-Length: 4\r\n\r\nabcd")
    yield get("chunks to GET", "/{token}/about.json", 400, lines=f"{GOOD}Transfer-Encoding: chunked\r\n\r\n0\r\n")


def methods() -> Iterator[Hostile]:
    for method in (
        "PUT",
        "DELETE",
        "HEAD",
        "OPTIONS",
        "PATCH",
        "TRACE",
        "get",
        "Post",
        "PROPFIND",
        "GETT",
        "__class__",
        "X-Y",
    ):
        for name in ("", "about.json", "under"):
            yield get(f"{method} {name}", f"/{{token}}/{name}", 405, method=method)
    for name in POSTS:
        yield get("GET of a question", f"/{{token}}/{name}", 405)
    for name in ("", "index.html", "about.json", "points.bin", "page.js"):
        yield post("POST of a file", name, b"", 405)
    yield post("POST of nothing", "nothing", b"", 404)
    override = "X-HTTP-Method-Override: POST\r\n"
    yield get("an overridden method", "/{token}/under", 405, lines=GOOD + override)
    yield get("CONNECT", "127.0.0.1:80", 404, 400, method="CONNECT")
    preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n"
    yield get("a preflight", "/{token}/under", 403, lines=GOOD + preflight, method="OPTIONS")


def malformed() -> Iterator[Hostile]:
    def raw(name: str, content: bytes, *statuses: int) -> Hostile:
        return Hostile(name, content, statuses or (400,))

    host = b"Host: 127.0.0.1:{port}\r\n"
    path = b"/{token}/about.json"
    yield raw("HTTP/0.9", b"GET " + path + b"\r\n\r\n")
    yield raw("HTTP/0.9 with a host", b"GET " + path + b"\r\n" + host + b"\r\n")
    for version in (
        b"HTTP/2.0",
        b"HTTP/9.9",
        b"HTTP/1",
        b"HTTP/x.y",
        b"HTTP/-1.1",
        b"HTTP/1.1.1",
        b"http/1.1",
        b"XTTP/1.1",
        b"HTTP/1.\xb2",
    ):
        yield raw(f"version {version!r}", b"GET " + path + b" " + version + b"\r\n" + host + b"\r\n")
    yield raw("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield raw("TLS", bytes.fromhex("160301006a010000660303") + bytes(range(90)) + b"\r\n\r\n")
    yield raw("garbage", b"\xff\xfe\xfd\r\n\r\n")
    yield raw("one word", b"GET\r\n\r\n")
    yield raw("four words", b"GET " + path + b" x HTTP/1.1\r\n" + host + b"\r\n")
    yield raw("NUL in the target", b"GET " + path + b"\0 HTTP/1.1\r\n" + host + b"\r\n", 404, 400)
    yield raw("bytes in the target", b"GET " + path + b"\xff\xfe HTTP/1.1\r\n" + host + b"\r\n", 404, 400)
    yield raw("another host in the target", b"GET http://evil.example" + path + b" HTTP/1.1\r\n" + host + b"\r\n", 404)
    yield raw(
        "its own host in the target", b"GET http://127.0.0.1:{port}" + path + b" HTTP/1.1\r\n" + host + b"\r\n", 404
    )
    yield raw("a broken host in the target", b"GET http://[::" + path + b" HTTP/1.1\r\n" + host + b"\r\n", 404)
    yield raw("a file in the target", b"GET file:///etc/passwd HTTP/1.1\r\n" + host + b"\r\n", 404)
    yield raw("a long target", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + host + b"\r\n", 414)
    yield raw("a target of 60,000", b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n" + host + b"\r\n", 414)
    yield raw("a long header", b"GET " + path + b" HTTP/1.1\r\n" + host + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431)
    yield raw("many headers", b"GET " + path + b" HTTP/1.1\r\n" + host + b"X: a\r\n" * 200 + b"\r\n", 431)
    yield raw("a header without a colon", b"GET " + path + b" HTTP/1.1\r\n" + host + b"nonsense\r\n\r\n")
    yield raw("a header without a colon first", b"GET " + path + b" HTTP/1.1\r\nnonsense\r\n" + host + b"\r\n")
    yield raw("a header without a name", b"GET " + path + b" HTTP/1.1\r\n" + host + b": x\r\n\r\n")
    yield raw("a continued line first", b"GET " + path + b" HTTP/1.1\r\n " + host + b"\r\n")
    yield raw("no end", b"GET " + path + b" HTTP/1.1\r\n" + host[:-7], 400, 403)


def sums() -> Iterator[Hostile]:
    def written(name: str, body: bytes | str) -> Hostile:
        return post(name, "sum", body if isinstance(body, bytes) else body.encode(), 400, kind=JSON)

    for name, body in (
        ("empty", b""), ("no JSON", b"{"), ("bytes", b"\xff\xfe\x00"), ("NaN", '{"terms": NaN}'), ("a list",
        "[]"), ("null", "null"),
        ("a number", "1"), ("a text", '"terms"'), ("no terms", "{}"), ("none", '{"terms": []}'), ("deep lists",
        "[" * 30_000),
        ("deep objects", '{"terms":' * 7000), ("deep terms", '{"terms": [' + "[" * 20_000 + "]" * 20_000 + "]}"),
        ("a huge number", '{"terms": ' + "9" * 60_000 + "}"),
        ("a huge exponent", '{"terms": 1e999999}'), ("UTF-16", '{"terms": []}'.encode("utf-16")),
        ("two values", "{}{}"), ("python", "{'terms': []}"),
    ):  # fmt: skip
        yield written(name, body)
    term = '{"sign": 1, "term": "label:1"}'
    yield written("nine terms", '{"terms": [' + ", ".join([term] * 9) + "]}")
    for sign in ("0", "2", "-2", "true", '"1"', "1.0", "null", "[1]", "1e0"):
        yield written(f"sign {sign}", f'{{"terms": [{{"sign": {sign}, "term": "label:1"}}]}}')
    for text in (
        "", "label:", "label:77", "label:1&label:2", "smiling", "!", "&", "point:100", "point:-1", "point:1.5",
        "point:NaN",
        "point:" + "9" * 900, "seed:-1", "seed:4294967296", "seed:x", "seed:", "@1", "@/etc/passwd", "/etc/passwd",
        "../../etc/passwd", "a.png", "file:///etc/passwd", "http://evil.example/a.png", "x" * 1001, "a\0b",
        "a\nb", "\u202e", "\ud800",
    ):  # fmt: skip
        yield written(f"term {text[:20]!a}", json.dumps({"terms": [{"sign": 1, "term": text}]}))
    for value in (
        "1",
        "null",
        "true",
        "[]",
        "{}",
        '{"code": 1}',
        '{"code": []}',
        '{"code": "00000"}',
        '{"pixels": ""}',
        '{"path": "/etc/passwd"}',
    ):
        yield written(f"term {value}", f'{{"terms": [{{"sign": 1, "term": {value}}}]}}')
    for number in ("NaN", "Infinity", "-Infinity", "1e7", "-1e7", "1e999", "true", "null", '"1"', "[1]", "9" * 4000):
        code = ", ".join([number] + ["0"] * (LATENT - 1))
        yield written(f"number {number[:20]}", f'{{"terms": [{{"sign": 1, "term": {{"code": [{code}]}}}}]}}')
    for count in (LATENT - 1, LATENT + 1, 5000):
        yield written(f"a code of {count}", json.dumps({"terms": [{"sign": 1, "term": {"code": [0] * count}}]}))
    good = base64.b64encode(bytes(784)).decode()
    for pixels in ("", "A", good[:-4], good + "AAAA", "!" * len(good), good.replace("A", "é"), 1, [0] * 784, {}, True):
        given = {"code": [0] * LATENT, "pixels": pixels}
        yield written(f"pixels {pixels!a:.12}", json.dumps({"terms": [{"sign": 1, "term": given}]}, ensure_ascii=False))
    more = {"code": [0] * LATENT, "path": "/etc/passwd"}
    yield written("a further key", json.dumps({"terms": [{"sign": 1, "term": more}]}))


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def pictures() -> Iterator[Hostile]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../a.png", b"\0" * 5_000_000)
    end = chunk(b"IEND", b"")
    bomb = zlib.compress(b"\0" * 30_000_000, 9)
    whole = png()
    gif = (
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\x02\x02D\x01\0;"
    )
    bitmap = b"BM" + struct.pack("<IHHIIiiHHIIIIII", 62, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    for name, content in {
        "empty": b"", "text": b"hello", "NULs": b"\0" * 5000, "noise": bytes(range(256)) * 40,
        "HTML": b"<script>alert(1)</script>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>', "PDF": b"%PDF-1.7\n%%EOF",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "zip": zipped.getvalue(), "gzip": zlib.compress(b"\0" * 9_000_000),
        "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "PNG's signature": whole[:8], "half a PNG": whole[: len(whole) // 2],
        "PNG without pixels": header(28, 28) + end,
        "PNG of a wrong sum": whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
        "PNG of no width": header(0, 5) + chunk(b"IDAT", bomb[:100]) + end,
        "PNG of 2^31": header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", bomb[:100]) + end,
        "PNG of 60,000": header(60_000, 60_000) + chunk(b"IDAT", bomb) + end,
        "PNG of 9,000": header(9_000, 9_000) + chunk(b"IDAT", bomb[:5000]) + end,
        "GIF of 65,535": gif, "BMP of 60,000": bitmap, "PNM of 99999": b"P5 99999 99999 255\n\0\0",
        "TIFF": b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 200, "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\xff" * 300,
        "WebP": b"RIFF\xff\xff\xff\x7fWEBPVP8X" + b"\xff" * 64, "ICO": b"\0\0\x01\0\xff\xff" + b"\xff" * 100,
        "FITS": b"SIMPLE  =                    T" + b" " * 2850, "a path": b"/etc/passwd",
        "an address": b"http://127.0.0.1/a.png",
        "XPM": b"/* XPM */\nstatic char *a[] = {\"60000 60000 1 1\",\n",
        "DDS": b"DDS " + struct.pack("<I", 124) + b"\xff" * 120,
    }.items():  # fmt: skip
        yield post(name, "file", content, 400)
    yield post("too large", "file", b"", 413, length=str((16 << 20) + 1))
    yield post("a form", "file", whole, 415, 400, kind="multipart/form-data; boundary=x")
    yield post("half of what was promised", "file", whole, 400, length=str(len(whole) + 100))


HOSTILE = [
    each
    for kind in (traversals, senders, tokens, numbers, bodies, methods, malformed, sums, pictures)
    for each in kind()
]


def test_there_are_enough_of_them_and_no_two_are_the_same() -> None:
    assert len(HOSTILE) >= 200
    assert len({each.raw for each in HOSTILE}) > 0.98 * len(HOSTILE)


#: So many at once in a test: one test a request would take longer to begin and end than the requests.
GROUPS = [HOSTILE[start : start + 20] for start in range(0, len(HOSTILE), 20)]


@pytest.mark.parametrize("group", GROUPS, ids=[each[0].name for each in GROUPS])
def test_hostile_requests_are_refused(
    group: list[Hostile], server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for hostile in group:
        answer = exchange(server, hostile.filled_in(server))
        reply = read(answer)
        assert reply.status in hostile.statuses, (hostile.name, reply.status, reply.body[:200])
        assert 400 <= reply.status < 500
        assert answer.count(b"HTTP/1.") == 1, hostile.name  # what followed wasn't taken for a second request
        assert all(reply.headers[key] == value for key, value in PROTECTION.items())
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert reply.headers["Connection"] == "close"
        assert b"\n" not in reply.body.strip()
        assert bool(reply.body) != hostile.raw.startswith(b"HEAD")
        assert server.desk.token.encode() not in answer
        assert b"root:" not in answer
    answers_rightly(server)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("finish", [True, False], ids=["closed", "kept open"])
@pytest.mark.parametrize(
    "piece", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nA: b\r\n"]
)
def test_a_request_that_never_ends_is_not_waited_for(piece: bytes, finish: bool, server: Server) -> None:
    began = time.monotonic()
    answer = exchange(server, piece, finish=finish)
    assert read(answer).status in ({400, 403, 404} if finish else {408})
    assert time.monotonic() - began < PATIENCE + 5
    answers_rightly(server)


def test_a_body_that_never_ends_is_not_waited_for(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    whole = request(server, "POST", "under", floats(0.5, 0.5))
    assert read(exchange(server, whole[:-3], finish=False)).status == 408
    assert read(exchange(server, whole[:20], finish=False)).status == 408
    answers_rightly(server)
    assert not caplog.records  # of a request that ends too late, the base class would tell, token and all


def test_bytes_that_drip_do_not_buy_time(server: Server) -> None:
    whole = request(server, "POST", "under", floats(0.5, 0.5))
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE / 20) as connection:
        answer = b""
        for index in range(100):  # five times as long as a request may take
            with suppress(TimeoutError):
                answer = connection.recv(1 << 16)
                break
            connection.sendall(whole[index : index + 1])
    assert read(answer).status == 408
    answers_rightly(server)


def test_bytes_that_come_without_a_pause_do_not_buy_time_either() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET")
        deadline = serving.Deadline(ours, 0.2)
        assert deadline.read(1) == b"G"
        time.sleep(0.2)
        with pytest.raises(TimeoutError):
            deadline.read(1)
        assert deadline.passed


@pytest.mark.parametrize(
    ("head", "status", "most"),
    [
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: %s\r\n" % (k, b"b" * 60_000) for k in range(100)), 431, serving.HEAD),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: %s\r\n" % (k, b"b" * 400) for k in range(99)), 431, serving.HEAD),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000, 431, serving.HEAD),
        (b"GET /" + b"a" * 100_000, 414, serving.LINE),
        (b"a" * 100_000, 414, serving.LINE),
    ],
    ids=["long headers", "many headers", "one without an end", "a long target", "a line without an end"],
)
def test_a_head_is_read_up_to_a_bound(
    head: bytes, status: int, most: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By many at once, who needn't know the token: 60 heads of 6 MB once took two gigabytes."""
    taken: dict[int, int] = {}
    readinto = serving.Deadline.readinto

    def counted(self: serving.Deadline, buffer: memoryview) -> int:
        count = readinto(self, buffer)
        taken[id(self)] = taken.get(id(self), 0) + count
        return count

    monkeypatch.setattr(serving.Deadline, "readinto", counted)
    kept: list[serving.Deadline] = []  # or another would get the same id
    init = serving.Deadline.__init__
    monkeypatch.setattr(serving.Deadline, "__init__", lambda self, *given: (kept.append(self), init(self, *given))[1])
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: exchange(server, head, finish=False), range(40)))
    assert len(taken) == 40
    assert max(taken.values()) <= most
    told = [read(answer) for answer in answers if answer]  # who still sends as it closes may see a reset instead
    assert told
    assert {each.status for each in told} == {status}
    assert {each.headers["Connection"] for each in told} == {"close"}
    answers_rightly(server)


def test_a_head_within_the_bound_and_the_body_behind_it_are_read(server: Server) -> None:
    """The bound is of the head alone, though both may come in one piece."""
    codes = floats(*[0.5] * LATENT * 64)
    whole = request(server, "POST", "decode", codes)
    head, body = whole.split(b"\r\n\r\n", 1)
    filled = head + b"\r\nA: " + b"b" * (serving.HEAD - len(head) - 100)
    assert len(filled) + len(body) > serving.HEAD
    assert read(exchange(server, filled + b"\r\n\r\n" + body)).status == 200
    assert read(exchange(server, filled + b"b" * 100 + b"\r\n\r\n" + body)).status == 431


def test_more_connections_than_are_served_are_turned_away(server: Server) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(serving.CONNECTIONS)]
    try:
        for _ in range(100):  # until all of them have been taken
            if server.free._value == 0:  # type: ignore[attr-defined]
                break
            time.sleep(0.01)
        assert read(exchange(server, request(server, "GET", "about.json"))).status == 429
    finally:
        for connection in idle:
            connection.close()
    for _ in range(100):
        if server.free._value:  # type: ignore[attr-defined]
            break
        time.sleep(0.01)
    answers_rightly(server)


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with serving.listen(0) as listening:
        return listening.getsockname()[1]


@pytest.mark.parametrize(
    ("number", "code", "last"), [(signal.SIGINT, 0, ""), (signal.SIGTERM, 143, "genkit: terminated\n")]
)
def test_the_command_serves_until_it_is_stopped(number: int, code: int, last: str, runs: Path) -> None:
    """A process of its own, for it is the process that a signal ends."""
    port = free_port()
    command = ["explore", str(run_of(runs, "vae")), "--no-browser", "--port", str(port), "--limit", "50"]
    process = subprocess.Popen(
        [sys.executable, "-m", "genkit", *command, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a script's background job ignores
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/[\w-]{{32}}/\n", address)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(100)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (code, "")
    assert err.endswith(f"Ctrl-C ends it\n{last}")
    with serving.listen(port):  # it has let go of it
        pass


def test_the_command_says_what_stands_in_its_way(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    vae = run_of(runs, "vae")
    with serving.listen(0) as taken:
        outcome = genkit("explore", vae, "--port", taken.getsockname()[1])
    assert (outcome.code, "is taken by another program" in outcome.err) == (1, True)
    outcome = genkit("explore", run_of(runs, "classifier"))
    assert (outcome.code, "makes no images" in outcome.err) == (2, True)
    outcome = genkit("explore", vae, "--dataset", tmp_path / "none")
    assert (outcome.code, "no such file or folder" in outcome.err) == (2, True)
    assert genkit("explore", tmp_path).code == 1
    for arguments in (
        ("--port", "65536"),
        ("--port", "-1"),
        ("--method", "umap"),
        ("--limit", "0"),
        ("--host", "0.0.0.0"),
    ):
        assert genkit("explore", vae, *arguments).code == 2
