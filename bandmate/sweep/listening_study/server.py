"""The study over HTTP, by the standard library: a page, sounds, and three requests. Nothing is logged."""

import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import unquote, urlsplit

from bandmate.sweep.listening_study.desk import Desk, Refused
from bandmate.sweep.listening_study.study import TYPES, sound_path

MOST = 4096  # bytes of a request
IDLE = 30  # seconds until a silent connection is closed
ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/study.css": ("study.css", "text/css; charset=utf-8"),
    "/study.js": ("study.js", "text/javascript; charset=utf-8"),
    "/player.js": ("player.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Server(ThreadingHTTPServer):
    """Serves one desk. Raises OSError when the port is taken."""

    daemon_threads = True
    allow_reuse_address = True  # a port that was just left may be taken again; one in use still may not

    def __init__(self, address: tuple[str, int], desk: Desk) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.desk = desk
        self.assets = {
            path: (resources.files("bandmate").joinpath("assets", "study", name).read_bytes(), kind)
            for path, (name, kind) in ASSETS.items()
        }
        self.sounds = desk.study.sounds()
        self.folder = desk.store.path.parent
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Without the look-up of the machine's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A listener who leaves while a sound is sent is no error."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bandmate", ""
    timeout = IDLE
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing about anybody is written."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path in self.server.assets:
            content, kind = self.server.assets[path]
            self.send(HTTPStatus.OK, content, kind)
        elif path == "/api/study":
            self.tell(self.server.desk.welcome)
        elif path.startswith("/api/participants/"):
            self.tell(lambda: self.server.desk.state(path.rpartition("/")[2]), HTTPStatus.NOT_FOUND)
        elif path.startswith("/audio/"):
            self.send_sound(path.removeprefix("/audio/"))
        else:
            self.complain(HTTPStatus.NOT_FOUND, "there is no such page")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        actions = {"/api/participants": self.server.desk.begin, "/api/answers": self.server.desk.answer}
        action = actions.get(urlsplit(self.path).path)
        if action is None:
            self.close_connection = True  # its content was not read
            self.complain(HTTPStatus.NOT_FOUND, "there is no such page")
        elif (request := self.read()) is not None:
            self.tell(lambda: action(request))

    def read(self) -> dict[str, Any] | None:
        """The request as JSON; None when it was refused."""
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= MOST:
            self.close_connection = True
            self.complain(HTTPStatus.BAD_REQUEST, f"a request has a length, and {MOST} bytes at most")
            return None
        try:
            request = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            self.complain(HTTPStatus.BAD_REQUEST, "a request is a JSON object")
            return None
        return request

    def tell(self, what: Callable[[], dict[str, Any]], refusal: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        """What the desk says, as JSON; its refusals and a full disk in one line."""
        try:
            content = json.dumps(what()).encode()
        except Refused as refused:
            self.complain(refusal, str(refused))
        except OSError as error:
            self.complain(HTTPStatus.INSUFFICIENT_STORAGE, f"not saved: {error.strerror or error}")
        else:
            self.send(HTTPStatus.OK, content, "application/json")

    def send_sound(self, name: str) -> None:
        if name not in self.server.sounds:
            self.complain(HTTPStatus.NOT_FOUND, "there is no such sound")
            return
        study = self.server.desk.study
        try:
            content = sound_path(self.server.folder, study, name).read_bytes()
        except OSError:
            self.complain(HTTPStatus.NOT_FOUND, "this sound is missing")
            return
        self.send(HTTPStatus.OK, content, TYPES[study.sound], "private, max-age=86400")

    def complain(self, status: HTTPStatus, message: str) -> None:
        self.send(status, json.dumps({"error": message}).encode(), "application/json")

    def send(self, status: HTTPStatus, content: bytes, kind: str, cache: str = "no-store") -> None:
        self.send_response_only(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", cache)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
