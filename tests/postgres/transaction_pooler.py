"""A pooler in transaction mode, small and real: it speaks the protocol between clients and a server's socket.

A client gets a server connection at its first message after a transaction has ended, and loses it when the server says
that it is ready and outside of one. Settings of a session are left behind for the next client, as PgBouncer does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["TransactionPooler"]


class TransactionPooler:
    """A context manager. folder: where its socket is, for ``host=``."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.folder = folder
        self._server = server / ".s.PGSQL.5432"
        self._path = folder / ".s.PGSQL.5432"
        self._greeting = b""
        self._free: list[tuple[bytes, socket.socket]] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._path))
        self._listening.listen(16)

    def __enter__(self) -> TransactionPooler:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            left = [*self._open, *(s for _, s in self._free)]
        for one in left:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in left:
            one.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]  # a method
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(client)
            self._start(self._guarded, client)

    def _guarded(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._serve(client)
        client.close()

    def _serve(self, client: socket.socket) -> None:
        start = _startup(client)
        if start is None:
            return
        server = self._take(start)
        greeting = self._greeting
        # The process id is the pooler's own invention.
        client.sendall(greeting + _message(b"K", struct.pack("!ii", 4_000_000 + os.getpid() % 1000, 7)) + _READY)
        self._give_back(start, server)
        while True:
            kind, body = _read(client)
            if kind == b"X":
                return
            server = self._take(start)
            server.sendall(_message(kind, body))
            # Messages up to Sync or a simple query are answered by one ReadyForQuery.
            while kind not in (b"Q", b"S"):
                kind, body = _read(client)
                server.sendall(_message(kind, body))
            while not self._answered(client, server):
                while True:
                    kind, body = _read(client)
                    server.sendall(_message(kind, body))
                    if kind in (b"Q", b"S"):
                        break
            self._give_back(start, server)

    def _answered(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass an answer on; whether the transaction has ended with it."""
        while True:
            kind, body = _read(server)
            client.sendall(_message(kind, body))
            if kind == b"Z":
                return body == b"I"

    def _take(self, start: bytes) -> socket.socket:
        with self._lock:
            for i, (known, server) in enumerate(self._free):
                if known == start:
                    del self._free[i]
                    return server
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server))
        server.sendall(start)
        greeting = b""
        while True:
            kind, body = _read(server)
            if kind == b"Z":
                break
            if kind != b"K":
                greeting += _message(kind, body)
        self._greeting = greeting
        with self._lock:
            self._open.append(server)
        return server

    def _give_back(self, start: bytes, server: socket.socket) -> None:
        with self._lock:
            self._free.append((start, server))


_READY = b"Z\0\0\0\5I"


def _startup(client: socket.socket) -> bytes | None:
    while True:
        (length,) = struct.unpack("!i", _exactly(client, 4))
        body = _exactly(client, length - 4)
        (code,) = struct.unpack("!i", body[:4])
        if code in (80877103, 80877104):  # SSL, GSS: not here
            client.sendall(b"N")
            continue
        return None if code == 80877102 else struct.pack("!i", length) + body


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _read(of: socket.socket) -> tuple[bytes, bytes]:
    kind = _exactly(of, 1)
    (length,) = struct.unpack("!i", _exactly(of, 4))
    return kind, _exactly(of, length - 4)


def _exactly(of: socket.socket, n: int) -> bytes:
    found = b""
    while len(found) < n:
        more = of.recv(n - len(found))
        if not more:
            raise EOFError
        found += more
    return found
