"""Who runs a job, so that a dead run is told from one that goes on: host, process id and the process's start.

A process id alone is given out again after the process's end, and after a restart of the machine.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Life", "Owner"]

Life = Literal["alive", "dead", "unknown"]


@dataclass(frozen=True)
class Owner:
    """A process. process: when and where its id was given out (boot, namespace, start); "" where not known."""

    host: str
    pid: int
    process: str

    @staticmethod
    def here() -> Owner:
        """This process."""
        return Owner.of(os.getpid())

    @staticmethod
    def of(pid: int) -> Owner:
        """A process of this host, and this container."""
        return Owner(socket.gethostname(), pid, _process(pid))

    def life(self) -> Life:
        """Whether it still runs; "unknown" for another host, or another container of this one."""
        boot, namespace, started = _parts(self.process)
        own_boot, own_namespace, _ = _parts(_process(os.getpid()))
        if self.host != socket.gethostname():
            return "unknown"
        if boot and own_boot and boot != own_boot:
            return "dead"  # the machine was started again
        if namespace != own_namespace:
            return "unknown"
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return "dead"
        except PermissionError:
            pass  # someone else's process has the id; its start decides
        now = _parts(_process(self.pid))[2]
        return "dead" if started and now != started else "alive"


def _process(pid: int) -> str:
    """``boot/namespace/start`` from /proc; "" on systems without it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = Path(f"/proc/{os.getpid()}/ns/pid").readlink().name
        # The name in brackets may hold anything: count the fields behind its last bracket. A zombie has ended.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return f"{boot}/{namespace}/{'ended' if fields[0] in 'ZX' else fields[19]}"
    except (OSError, IndexError):
        return ""


def _parts(process: str) -> tuple[str, str, str]:
    boot, _, rest = process.partition("/")
    namespace, _, started = rest.partition("/")
    return boot, namespace, started
