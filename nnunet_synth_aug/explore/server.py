"""The page and its few answers, by Python's own HTTP server: nothing to install, and nothing is loaded from elsewhere.

GET  /                     the page
GET  /api/alive            which server this is, and of which page
POST /api/hearts           a wish -> {"id": of a job}, or {"refused": a sentence}; 400 for what is not JSON
GET  /api/hearts/ID        {"state": waiting, running, done, failed or dropped, "share": ..., then "heart" or "error"}
GET  /api/hearts/ID/nifti  zip of image and mask (4D NIfTI) and their values
GET  /api/hearts/ID/json   what was asked and what was measured
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import socket
import tempfile
import zipfile
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.explore.hearts import Heart, Wish
from nnunet_synth_aug.explore.jobs import Queue
from nnunet_synth_aug.explore.page import POLICY
from nnunet_synth_aug.explore.picture import in_words
from nnunet_synth_aug.synthesis.folder import write_sequence

#: Where the page is, and how many ports further it may be if others are taken.
LOCAL, PORT, PORTS = "127.0.0.1", 8123, 20
#: A wish is a few hundred bytes.
LONGEST = 10_000


class Explorer(ThreadingHTTPServer):
    """Serves the page of one generator."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], page: str, queue: Queue) -> None:
        super().__init__(address, _Handler)
        self.page, self.queue = page.encode(), queue
        self.about = {"server": secrets.token_hex(4), "page": hashlib.sha256(self.page).hexdigest()[:8]}
        #: Names under which a page on this machine is asked for. Others are a web page elsewhere that points its name to this machine.
        host, port = self.server_address[:2]
        self.names = {f"{name}:{port}" for name in (LOCAL, "localhost", "[::1]")} if host in (LOCAL, "localhost", "::1") else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is no error."""


def listen(page: str, queue: Queue, host: str, port: int) -> Explorer:
    """A server on the first free port.

    Raises:
        UserError: the host is not this machine's, or no port is free.
    """
    for one in range(port, min(port + PORTS, 65_536)):
        try:
            return Explorer((host, one), page, queue)
        except socket.gaierror:
            raise UserError(f"--host {host} is not known; give an address of this machine, such as {LOCAL}") from None
        except OSError as error:
            if error.errno == 99:  # cannot assign
                raise UserError(f"--host {host} is no address of this machine; leave it out, or give one such as 0.0.0.0 for all") from None
            if isinstance(error, PermissionError):
                raise UserError(f"port {one} is reserved for the system; give --port a number above 1023") from None
    raise UserError(f"the ports {port} to {port + PORTS - 1} are taken; give another one with --port")


class _Handler(BaseHTTPRequestHandler):
    server: Explorer
    protocol_version = "HTTP/1.1"
    server_version = "synthaug"
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the page asks several times a second."""

    def do_GET(self) -> None:
        if not self._is_meant():
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif path == "/api/alive":
            self._json(HTTPStatus.OK, self.server.about)
        elif path.startswith("/api/hearts/"):
            key, _, what = path.removeprefix("/api/hearts/").partition("/")
            self._heart(key, what)
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": f"there is no {path}"})

    def do_POST(self) -> None:
        if not self._is_meant():
            return
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= LONGEST:
            self.close_connection = True
            self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "that is no wish for a heart"})
            return
        body = self.rfile.read(length)
        if self.path != "/api/hearts":
            self._json(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})
            return
        if self.headers.get_content_type() != "application/json":  # what other web sites may send without asking
            self._json(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "a wish is JSON"})
            return
        try:
            values = json.loads(body)
            instead = values.pop("instead", "") if isinstance(values, dict) else ""
            job = self.server.queue.ask(Wish.of(values), str(instead))
        except UserError as error:  # an answer like any other: browsers complain of 400 in their console
            self._json(HTTPStatus.OK, {"refused": str(error)})
        except (ValueError, RecursionError):
            self._json(HTTPStatus.BAD_REQUEST, {"error": "a wish is JSON"})
        else:
            self._json(HTTPStatus.OK, {"id": job.id})

    def _heart(self, key: str, what: str = "") -> None:
        if not what:
            self._json(HTTPStatus.OK, self.server.queue.look(key))
            return
        heart = self.server.queue.heart(key)
        if heart is None or what not in ("nifti", "json"):
            self._json(HTTPStatus.NOT_FOUND, {"error": "that heart is no longer kept; ask for it again"})
        elif what == "json":
            self._send(HTTPStatus.OK, json.dumps(values_of(heart), indent=2).encode(), "application/json", f"{heart.sequence.id}.json")
        else:
            self._send(HTTPStatus.OK, zipped(heart), "application/zip", f"{heart.sequence.id}.zip")

    def _is_meant(self) -> bool:
        """Refuse a request for another host's name."""
        names = self.server.names
        if names is None or self.headers.get("Host", "").lower() in names:
            return True
        self.close_connection = True
        self._json(HTTPStatus.FORBIDDEN, {"error": "this page is only for this machine"})
        return False

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, name: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if name:
            self.send_header("Content-Disposition", f'attachment; filename="{name}"')
        self.end_headers()
        self.wfile.write(body)


def values_of(heart: Heart) -> dict[str, Any]:
    """What was asked of a heart and what its masks show."""
    sequence = heart.sequence
    return {
        "name": sequence.id,
        "asked": heart.wish.asked.specified(),
        "requested": sequence.requested.specified(),
        "measured": sequence.measured.specified(),
        "seed": heart.wish.seed,
        "frames": heart.wish.frames,
        "frame_seconds": sequence.frame_seconds,
        "spacing_mm": sequence.spacing,
        "ed": sequence.ed,
        "es": sequence.es,
        "objections": in_words(heart.reasons),
        "labels": {"RV": 1, "MYO": 2, "LV": 3},
    }


def zipped(heart: Heart) -> bytes:
    """Zip of image and mask as ``synthaug sample`` writes them, and of the values."""
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        write_sequence(Path(scratch), heart.sequence)
        for path in sorted(Path(scratch).glob("*.nii.gz")):
            archive.write(path, path.name)
        archive.writestr(f"{heart.sequence.id}.json", json.dumps(values_of(heart), indent=2))
    return stream.getvalue()
