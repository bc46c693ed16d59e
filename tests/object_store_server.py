"""A program: moto's S3 on a port of its own choice of the loopback, printed as a line; ends when its input does.

What moto checks of a conditional put and the put itself are two steps there, so that two at once could both pass:
writes are let in one at a time. ``POST /-/faults`` (a JSON list) makes the next requests fail that match:
``{"method": "PUT", "key": "manifests/", "how": "refused" | "lost" | "silent", "times": 2}``: answered with 503 and not
done; done, and answered with 503; done, and not answered while ``seconds`` pass. ``unconditional``: done whatever its
condition says, as by stores that know none. ``GET /-/requests`` says what was asked since the last time, as "METHOD
key".
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Store:
    """moto's application, writes one at a time, faults on request."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._writing = threading.Lock()
        self._faults: list[dict[str, Any]] = []
        self._asked: list[str] = []

    def __call__(self, environ: dict[str, Any], answer: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/-/faults":
            self._faults = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            answer("200 OK", [])
            return [b""]
        if path == "/-/requests":
            asked, self._asked = self._asked, []
            answer("200 OK", [])
            return [json.dumps(asked).encode()]
        self._asked.append(f"{method} {path}")
        fault = self._fault(method, path)
        how = fault["how"] if fault else ""
        if how == "unconditional":
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
            how = ""
        done: Any = None
        if how != "refused":
            if method == "GET" or method == "HEAD":
                done = self._done(environ)
            else:
                with self._writing:
                    done = self._done(environ)
        if how == "silent":
            time.sleep(fault["seconds"])
        if how:
            answer("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        status, headers, body = done
        answer(status, headers)
        return body

    def _done(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        said: list[Any] = []
        body = list(self._app(environ, lambda status, headers, _=None: said.extend((status, headers))))
        return said[0], said[1], body

    def _fault(self, method: str, path: str) -> dict[str, Any]:
        for fault in self._faults:
            if fault["times"] > 0 and fault["method"] == method and fault["key"] in path:
                fault["times"] -= 1
                return fault
        return {}


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


def main() -> None:
    logging.getLogger("werkzeug").disabled = True
    server = make_server("127.0.0.1", 0, Store(), threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
