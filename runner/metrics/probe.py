"""/metrics and /healthz of a process that stays: what a scraper and a supervisor ask it.

Answered by threads of their own, so that a process that hangs is told, not waited for.
"""

from __future__ import annotations

import json
import socket
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from runner.errors import ConfigError
from runner.metrics.prometheus import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from runner.metrics.prometheus import Metrics

__all__ = ["serve_probes"]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerOf6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nobody reads a line for each probe."""


def serve_probes(
    metrics: Metrics, health: Callable[[], tuple[bool, Mapping[str, object]]], address: str, port: int
) -> MetricsServer:
    """Serve both at this address; 0 is a free port. health: (whether all is well, what to say as JSON).

    /healthz answers 200 or 503. Raises ConfigError where address or port cannot be had.
    """
    exposed = make_wsgi_app(metrics.registry)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return list(exposed(environ, start))
        if path == "/healthz":
            well, said = health()
            start("200 OK" if well else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [json.dumps(said).encode()]
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there is /metrics and /healthz\n"]

    try:
        server = make_server(address, port, answer, _ServerOf6 if ":" in address else _Server, _Quiet)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{address} port {port} cannot be served at: {getattr(error, 'strerror', None) or error}",
            hint="another [scheduler] port, or --port; 0 is a free one",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    return MetricsServer(server.server_port, server, thread)
