"""The explorer's HTTP: who may ask, what a question may look like, and how the answer is written.

The server listens on 127.0.0.1 alone, and trusts neither what it is asked nor who asks: other pages in the same browser
can send requests here, and other users of the machine can open connections. An address holds a random token, the Host
and the Origin are compared with the server's own, every body has a bound and a deadline, no parameter is a path, and
whatever is wrong is answered with 4xx and one line.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hmac
import io
import json
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from genkit import registry
from genkit.errors import GenkitError, in_one_line
from genkit.explore.space import AT_ONCE, TERMS, Found, Space, Term

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger("genkit")

HOST = "127.0.0.1"
#: Bytes of a request's first line, and of all that comes before its body. Whoever sends them need not know the token.
LINE, HEAD = 8 << 10, 32 << 10
#: Bytes of a body, of an image file, and of a piece in which a body is read.
BODY, FILE, PIECE = 64 << 10, 16 << 20, 1 << 16
#: The largest number in a code or a place.
LARGEST = 1e6
#: Seconds that a request may take to arrive, and connections at a time.
PATIENCE, CONNECTIONS = 60.0, 64
#: What the page is made of, and nothing else: by name, its type.
STATIC = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    **dict.fromkeys(
        (
            "latent.js", "live.js", "map.js", "gif.js", "dom.js", "status.js", "saving.js", "busy.js", "state.js",
            "pictures.js", "numbers.js", "names.js", "ask.js", "originals.js", "player.js", "tabs.js", "told.js",
            "current.js", "thumbs.js", "legend.js", "walk.js", "files.js", "calculate.js", "sliders.js",
            "reconstruct.js", "drop.js", "onmap.js", "introduce.js", "page.js",
        ),
        "text/javascript; charset=utf-8",
    ),
}  # fmt: skip
TEXT, JSON, LINES, BINARY = (
    "text/plain; charset=utf-8",
    "application/json",
    "application/x-ndjson",
    "application/octet-stream",
)
HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]
REASONS = {
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
    409: "Conflict", 410: "Gone", 411: "Length Required", 413: "Content Too Large", 414: "URI Too Long",
    415: "Unsupported Media Type", 417: "Expectation Failed", 429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}  # fmt: skip
#: All of a request's target that is looked at: no escapes, no queries, no other hosts.
TARGET = re.compile(r"/(?!/)[A-Za-z0-9_\-./]{0,200}")
#: Headers that decide something, and may therefore be sent once.
SINGLE = ("Host", "Origin", "Content-Length", "Content-Type", "Transfer-Encoding", "Sec-Fetch-Site")

Result = TypeVar("Result")


class Refused(Exception):
    """A request that isn't answered: the status, and one line that the page shows."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status, self.why = status, why


class Answer(NamedTuple):
    kind: str  # the Content-Type
    body: bytes | Iterator[bytes]
    status: int = 200


class Question(NamedTuple):
    """What can be asked by POST.

    Attributes:
        answer: of the body.
        takes: the body's Content-Type.
        limit: bytes of it.
    """

    answer: Callable[[bytes], Answer]
    takes: str
    limit: int


# ---------------------------------------------------------------------------------------------------------------------
# Reading and writing numbers
# ---------------------------------------------------------------------------------------------------------------------


def read_numbers(body: bytes, kind: str, width: int, most: int = AT_ONCE) -> np.ndarray:
    """A body as (N, width) numbers of a NumPy type, N from 1 to `most`.

    Raises:
        Refused: for another length.
    """
    row = width * np.dtype(kind).itemsize
    if not body or len(body) % row or len(body) > most * row:
        whole = f"1 to {most} times {row}" if most > 1 else f"{row}"
        raise Refused(400, f"the body has {len(body)} bytes, where {whole} are expected")
    return np.frombuffer(body, kind).reshape(-1, width)


def read_codes(body: bytes, width: int, most: int = AT_ONCE) -> Tensor:
    """A body of float32 as (N, width), all finite and within ±LARGEST.

    Raises:
        Refused: otherwise.
    """
    numbers = read_numbers(body, "<f4", width, most)
    if not (np.abs(numbers) <= LARGEST).all():  # false for NaN, too
        raise Refused(400, f"some numbers aren't finite, or are beyond {LARGEST:g}")
    return torch.from_numpy(numbers.astype(np.float32))


def read_indices(body: bytes, count: int) -> Tensor:
    """A body of int32 as the positions (N,) of points.

    Raises:
        Refused: where there is no such point.
    """
    numbers = read_numbers(body, "<i4", 1)[:, 0]
    if not ((numbers >= 0) & (numbers < count)).all():
        raise Refused(400, f"there are {count} points, 0 to {count - 1}")
    return torch.from_numpy(numbers.astype(np.int64))


def read_condition(body: bytes, space: Space) -> tuple[Tensor | None, bytes]:
    """What the decoder is told, (1, …), and the rest of a body.

    Where it can be told something, the body begins with it, as float32: the number of a class, or each attribute's
    share in [0, 1].

    Raises:
        Refused: for anything else.
    """
    chooser = space.chooser()
    if chooser is None:
        return None, body
    size = 4 * len(chooser["first"])
    if len(body) < size:
        raise Refused(400, f"the body has {len(body)} bytes, and begins with a condition of {size}")
    return as_condition(np.frombuffer(body[:size], "<f4").astype(np.float32).tolist(), space), body[size:]


def as_condition(numbers: Any, space: Space) -> Tensor | None:
    """A condition (1, …) from what a page says: of a class [its number], of attributes each one's share.

    Raises:
        Refused: when there is no such condition.
    """
    chooser = space.chooser()
    if chooser is None:
        return None
    count = len(chooser["names"])
    numeric = isinstance(numbers, list) and len(numbers) == len(chooser["first"]) and all(map(is_bounded, numbers))
    if chooser["kind"] == "class":
        if not numeric or numbers[0] != int(numbers[0]) or not 0 <= numbers[0] < count:
            raise Refused(400, f"there are {count} classes, 0 to {count - 1}")
        return torch.tensor([int(numbers[0])])
    if not numeric or not all(0 <= each <= 1 for each in numbers):
        raise Refused(400, f"a condition is {count} numbers in [0, 1]")
    return torch.tensor([numbers], dtype=torch.float32)


def read_terms(body: bytes, space: Space) -> tuple[list[Term], Tensor | None]:
    """The terms of a sum: {"terms": [{"sign": 1, "term": "label:7"}, …]}; with "condition" where there is one.

    Raises:
        Refused: for anything else.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is no JSON") from error
    terms = asked.get("terms") if isinstance(asked, dict) else None
    if not isinstance(terms, list) or not 1 <= len(terms) <= TERMS:
        raise Refused(400, f'a sum is {{"terms": […]}}, with 1 to {TERMS} terms')
    return [read_term(each, space) for each in terms], as_condition(asked.get("condition"), space)


def read_term(asked: Any, space: Space) -> Term:
    """One term; where it is a code, {"code": [numbers], "pixels": base64 of an image}, the pixels being optional."""
    sign, term = (asked.get("sign"), asked.get("term")) if isinstance(asked, dict) else (None, None)
    if type(sign) is not int or sign not in (1, -1):
        raise Refused(400, "the sign of a term is 1 or -1")
    if isinstance(term, str):
        return Term(sign, term)
    if not isinstance(term, dict) or not term.keys() <= {"code", "pixels"}:
        raise Refused(400, 'a term is a text, or {"code": […], "pixels": "base64"}')
    code, pixels = term.get("code"), term.get("pixels")
    if not isinstance(code, list) or len(code) != space.latent_dim or not all(map(is_bounded, code)):
        raise Refused(400, f"a code is {space.latent_dim} finite numbers within ±{LARGEST:g}")
    return Term(
        sign, "", torch.tensor(code, dtype=torch.float32), None if pixels is None else read_image(pixels, space)
    )


def is_bounded(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST


def read_image(text: Any, space: Space) -> Tensor:
    """base64 as uint8 (H, W, C)."""
    channels, height, width = space.image
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != space.image.numbers:
        raise Refused(400, f"pixels are {space.image.numbers} bytes in base64")
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(height, width, channels).copy())


def as_bytes(numbers: Tensor, kind: str) -> bytes:
    """Numbers of any shape, little-endian, of a NumPy type."""
    return numbers.numpy().astype(kind).tobytes()


def as_base64(pixels: Tensor) -> str:
    return base64.b64encode(as_bytes(pixels, "u1")).decode()


def as_json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


# ---------------------------------------------------------------------------------------------------------------------
# Questions
# ---------------------------------------------------------------------------------------------------------------------


class Desk:
    """Answers what is asked of a space: a WSGI application.

    The model is asked by one thread, whatever the number of requests: torch keeps threads of its own for each thread
    that calls it, and a search for a code, which takes seconds, lets others in between its steps.
    """

    def __init__(self, space: Space, port: int, token: str):
        self.space, self.port, self.token = space, port, token
        names = [f"{name}:{port}" for name in (HOST, "localhost")] + ([HOST, "localhost"] if port == 80 else [])
        self.hosts, self.origins = names, [f"http://{name}" for name in names]
        self.worker = ThreadPoolExecutor(1, "model")
        self.reading = threading.Lock()
        self.loading = threading.Lock()
        self.searched: Tensor | None = None  # the image whose code is searched for
        self.about = as_json(space.about())
        self.fixed = {
            "about.json": Answer(JSON, self.about),
            "points.bin": Answer(BINARY, as_bytes(space.points(), "<f4")),
            "labels.bin": Answer(BINARY, as_bytes(space.labels(), "<i2")),
        }
        chooser = space.chooser()
        told = 0 if chooser is None else len(chooser["first"])
        codes = max(BODY, AT_ONCE * 4 * space.latent_dim) + 4 * told
        sums = BODY + TERMS * (32 * space.latent_dim + 2 * space.image.numbers) + 32 * told
        self.questions = {
            "decode": Question(self.decode, BINARY, codes),
            "under": Question(self.under, BINARY, BODY),
            "place": Question(self.place, BINARY, codes),
            "originals": Question(self.originals, BINARY, BODY),
            "codes": Question(self.codes, BINARY, BODY),
            "seeds": Question(self.seeds, BINARY, BODY),
            "near": Question(self.near, BINARY, codes),
            "sum": Question(self.sum, JSON, sums),
            "file": Question(self.file, BINARY, FILE + 4 * told),
        }
        if not space.makes_images:
            del self.questions["seeds"], self.questions["sum"]

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/{self.token}/"

    def close(self) -> None:
        self.worker.shutdown(wait=False, cancel_futures=True)

    def alone(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What the model's thread makes of it, when its turn comes."""
        ended = Refused(410, "genkit explore has ended; start it again")
        try:
            asked = self.worker.submit(function, *arguments)
        except RuntimeError as error:  # that the thread takes nothing more
            raise ended from error
        try:
            return asked.result()
        except CancelledError as error:
            raise ended from error

    def step_by_step(self, steps: Iterator[Result]) -> Iterator[Result]:
        """The same, each `alone`, so that others come in between."""
        end: Any = object()
        while (step := self.alone(next, steps, end)) is not end:
            yield step

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        try:
            answer = self.answer(environ)
        except Refused as error:
            answer = Answer(TEXT, error.why.encode(), error.status)
        except GenkitError as error:
            answer = Answer(TEXT, in_one_line(error).encode(), 400)
        except TimeoutError:
            answer = Answer(TEXT, b"the request took too long to arrive", 408)
        except ConnectionError:
            raise
        except Exception as error:
            logger.warning("a request failed: %s", registry.blamed(error))
            answer = Answer(TEXT, b"this request can't be answered", 400)
        headers = [("Content-Type", answer.kind), *HEADERS]
        if isinstance(answer.body, bytes):
            headers.append(("Content-Length", str(len(answer.body))))
        if answer.status == 405:
            headers.append(("Allow", "GET, POST"))
        start_response(f"{answer.status} {REASONS.get(answer.status, 'OK')}", headers)
        if isinstance(answer.body, bytes):
            return iter([b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body])
        return answer.body

    def answer(self, environ: WSGIEnvironment) -> Answer:
        """The answer to one request.

        Raises:
            Refused, GenkitError, TimeoutError
        """
        self.check_sender(environ)
        name = self.named(environ["RAW_URI"])
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "POST"):
            raise Refused(405, "only GET and POST are answered")
        if method == "GET":
            return self.fetch(name, environ)
        if name not in self.questions:
            known = name in self.fixed or name in STATIC
            raise Refused(405, "this is fetched by GET") if known else Refused(404, "there is nothing here")
        question = self.questions[name]
        return question.answer(read_body(environ, question))

    def check_sender(self, environ: WSGIEnvironment) -> None:
        """Refuse what doesn't come from this server's own page, or from a person who typed its address.

        A page of another site may be made to resolve to 127.0.0.1, but the browser still sends that site's name.
        """
        if environ.get("HTTP_HOST", "").lower() not in self.hosts:
            raise Refused(403, f"this server is {self.hosts[0]}, and nothing else")
        if environ.get("HTTP_ORIGIN", self.origins[0]).lower() not in self.origins:
            raise Refused(403, "pages of other sites may not ask here")
        if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
            raise Refused(403, "pages of other sites may not ask here; type the address")

    def named(self, target: str) -> str:
        """What comes after the token in a request's target."""
        token, slash, name = target[1:].partition("/")
        right = hmac.compare_digest(token.encode(), self.token.encode())
        if not right or not slash:
            raise Refused(404, "there is nothing here; open the address that genkit explore has printed")
        return name or "index.html"

    def fetch(self, name: str, environ: WSGIEnvironment) -> Answer:
        if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
            raise Refused(400, "a GET has no body")
        if name in self.fixed:
            return self.fixed[name]
        if name in self.questions:
            raise Refused(405, "this is asked by POST")
        if name not in STATIC:
            raise Refused(404, "there is nothing here")
        return Answer(STATIC[name], (files("genkit.explore") / "static" / name).read_bytes())

    def decode(self, body: bytes) -> Answer:
        condition, body = read_condition(body, self.space)
        codes = read_codes(body, self.space.latent_dim)
        return Answer(BINARY, as_bytes(self.alone(self.space.decode, codes, condition), "u1"))

    def under(self, body: bytes) -> Answer:
        condition, body = read_condition(body, self.space)
        x, y = read_codes(body, 2, 1)[0].tolist()
        code, pixels = self.alone(self.space.under, x, y, condition)
        return Answer(BINARY, as_bytes(code, "<f4") + as_bytes(pixels, "u1"))

    def place(self, body: bytes) -> Answer:
        condition, body = read_condition(body, self.space)
        codes = read_codes(body, self.space.latent_dim)
        return Answer(BINARY, as_bytes(self.alone(self.space.place, codes, condition), "<f4"))

    def originals(self, body: bytes) -> Answer:
        indices = read_indices(body, len(self.space.all_codes))
        return Answer(BINARY, as_bytes(self.alone(self.space.originals, indices), "u1"))

    def codes(self, body: bytes) -> Answer:
        indices = read_indices(body, len(self.space.all_codes))
        return Answer(BINARY, as_bytes(self.space.codes(indices), "<f4"))

    def seeds(self, body: bytes) -> Answer:
        condition, body = read_condition(body, self.space)
        numbers = read_numbers(body, "<u4", 1)[:, 0].tolist()
        return Answer(BINARY, as_bytes(self.alone(self.space.seeds, numbers, condition), "<f4"))

    def near(self, body: bytes) -> Answer:
        condition, body = read_condition(body, self.space)
        code = read_codes(body, self.space.latent_dim, 1)[0]
        return Answer(BINARY, as_bytes(self.alone(self.space.near, code, condition), "<i4"))

    def sum(self, body: bytes) -> Answer:
        terms, condition = read_terms(body, self.space)
        if self.space.sought(terms):
            with self.loading:  # in the thread of the request: a data set may take minutes, and a drag must not wait
                self.space.dataset()
        for _ in self.step_by_step(self.space.prepare(terms)):
            pass
        result = self.alone(self.space.sum, terms, condition)
        content = {
            "code": result.code.tolist(),
            "pixels": as_base64(result.pixels),
            "control": as_base64(result.control),
            "near": result.near.tolist(),
            "terms": [{"images": points} for points in result.terms],
        }
        return Answer(JSON, as_json(content))

    def file(self, body: bytes) -> Answer:
        """The lines that tell of an image's code. An image that is asked about takes the place of one before it."""
        condition, body = read_condition(body, self.space)
        with self.reading:  # one at a time: a picture may take as much memory as its bound allows
            image = self.space.read(body)
        self.searched = image
        return Answer(LINES, self.search(image, condition))

    def search(self, image: Tensor, condition: Tensor | None) -> Iterator[bytes]:
        """It takes all of the machine, so there is one at a time."""
        try:
            for found in self.step_by_step(self.space.file(image, condition)):
                if self.searched is not image:
                    raise Refused(409, "another image has taken this one's place")
                yield as_json(lines_of(found)) + b"\n"
        except (GenkitError, Refused) as error:
            yield as_json({"error": in_one_line(error)}) + b"\n"
        except Exception as error:
            logger.warning("a search failed: %s", registry.blamed(error))
            yield as_json({"error": "this image's code can't be found"}) + b"\n"


def lines_of(found: Found) -> dict[str, Any]:
    if found.code is None or found.pixels is None or found.place is None:
        return {"done": found.done, "of": found.of}
    return {"code": found.code.tolist(), "pixels": as_base64(found.pixels), "place": found.place.tolist()}


def read_body(environ: WSGIEnvironment, question: Question) -> bytes:
    """The body of a request, whole.

    Raises:
        Refused: when it is of another kind or length than it may be, or ends too soon.
        TimeoutError: when it takes too long.
    """
    if environ.get("CONTENT_TYPE", "").strip().lower() != question.takes:
        raise Refused(415, f"the body must be {question.takes}")
    length = environ.get("CONTENT_LENGTH", "")
    if not length or "HTTP_TRANSFER_ENCODING" in environ:
        raise Refused(411, "the body's length must be given")
    if not re.fullmatch(r"[0-9]{1,15}", length):
        raise Refused(400, "the body's length is no number")
    size = int(length)
    if size > question.limit:
        raise Refused(413, f"the body has {size:,} bytes; at most {question.limit:,} are read")
    pieces, left = [], size
    while left:
        piece = environ["wsgi.input"].read(min(left, PIECE))
        if not piece:
            raise Refused(400, f"the body ends after {size - left:,} of {size:,} bytes")
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


# ---------------------------------------------------------------------------------------------------------------------
# Connections
# ---------------------------------------------------------------------------------------------------------------------


class TooLongError(Exception):
    """More comes than may be read."""


class Deadline(io.RawIOBase):
    """A socket to read from that gives up at a given time, however often a few bytes arrive before.

    Attributes:
        passed: whether it has given up.
        left: bytes that may still be read; None is without a bound.
    """

    def __init__(self, connection: socket.socket, patience: float):
        self.connection, self.until, self.passed = connection, time.monotonic() + patience, False
        self.left: int | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.left == 0:
            raise TooLongError
        try:
            left = self.until - time.monotonic()
            if left <= 0:  # whoever sends without a pause would never be waited for
                raise TimeoutError
            self.connection.settimeout(left)
            count = self.connection.recv_into(buffer, 0 if self.left is None else min(len(buffer), self.left))
            if self.left is not None:
                self.left -= count
            return count
        except TimeoutError:
            self.passed = True
            raise
        finally:
            self.connection.settimeout(PATIENCE)  # of what is written


class Handler(WSGIRequestHandler):
    """Reads one request, and refuses what isn't even HTTP."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.deadline, self.answered = Deadline(self.connection, self.server.patience), False
        self.rfile = io.BufferedReader(self.deadline)

    @property
    def server_version(self) -> str:  # type: ignore[override]
        return "genkit"

    def version_string(self) -> str:
        return "genkit"

    def handle_one_request(self) -> None:
        self.deadline.left, self.raw_requestline = LINE, b""
        try:
            super().handle_one_request()
        except TooLongError:
            self.close_connection = True
            self.send_error(431 if self.raw_requestline else 414)
        if self.deadline.passed and not self.answered:
            self.send_error(408)

    def parse_request(self) -> bool:
        assert self.deadline.left is not None
        self.deadline.left += HEAD - LINE
        if not super().parse_request():
            return False
        self.deadline.left = None  # a body has a bound of its own
        if self.request_version == "HTTP/0.9" or self.headers.defects:
            return self.refuse(400)
        if any(len(self.headers.get_all(name, [])) > 1 for name in SINGLE):
            return self.refuse(400)
        if not TARGET.fullmatch(self.requestline.split()[1]):  # `path` has been tidied up
            return self.refuse(404)
        # Werkzeug would promise to read the body before anybody has looked at the request.
        del self.headers["Expect"]
        return True

    def refuse(self, status: int) -> bool:
        self.send_error(status)
        return False

    def send_response(self, code: int, message: str | None = None) -> None:
        self.answered = True
        super().send_response(code, message)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """When to refuse is the base classes' affair too, and how is ours: a fault is always the sender's."""
        status = code if code in REASONS else 400
        content = REASONS[status].lower().encode()
        self.request_version = "HTTP/1.0"  # or nothing but the content would be sent where that isn't known
        self.send_response(status, REASONS[status])
        kind, length = ("Content-Type", TEXT), ("Content-Length", str(len(content)))
        for name, value in (*HEADERS, kind, length, ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle_expect_100(self) -> bool:
        return True

    def log(self, type: str, message: str, *args: Any) -> None:
        pass  # addresses hold the token

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Server(ThreadedWSGIServer):
    """A thread a connection, up to a number of connections."""

    def __init__(self, space: Space, listening: socket.socket, patience: float = PATIENCE):
        """Answers on a copy of a socket of `listen`. `patience`: seconds that a request may take to arrive."""
        self.patience = patience
        self.free = threading.BoundedSemaphore(CONNECTIONS)
        port = listening.getsockname()[1]
        self.desk = Desk(space, port, secrets.token_urlsafe(24))
        super().__init__(HOST, port, self.desk, Handler, fd=listening.fileno())

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.free.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except Exception:  # no thread can be made; a signal may come once there is one, which releases it by itself
                self.free.release()
                raise
            return
        request.sendall(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Of a connection that broke; whoever it was is gone."""

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Answer until the process ends."""
        try:
            super().serve_forever(poll_interval)
        finally:
            self.desk.close()


def listen(port: int) -> socket.socket:
    """A socket that listens on the loopback interface; port 0 is one that is free.

    Raises:
        GenkitError: when the port is taken, or may not be used.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows would share it with whoever asks
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        what = "is taken by another program" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        raise GenkitError(f"port {port} {what}; leave --port out for one that is free, or give another") from error
    return listening
