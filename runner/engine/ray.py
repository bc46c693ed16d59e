"""Work on Ray: a local Ray that the run starts and ends, or a running cluster. The only file that imports ray.

Local Ray is quiet (no dashboard, no usage reports, no worker output on the terminal) and keeps its files in a directory
of its own, removed in the end; it keeps strangers out by its own token. A worker that dies is replaced and its task
run again; tasks write to places of their own, so running one twice changes nothing. Few tasks are handed out at a
time: a cluster that shrinks has little to give back, and Ctrl-C little to cancel.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import tempfile
import threading
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from runner.engine.base import Cancelled, NodeAnswer
from runner.engine.interrupts import held_interrupts
from runner.engine.modules import Modules, install
from runner.engine.scratch import Scratch
from runner.errors import EngineError, RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

__all__ = ["RayEngine"]

T = TypeVar("T")
R = TypeVar("R")

_logger = logging.getLogger(__name__)

MAX_RETRIES = 3
"""How often a task whose worker died is run again."""

IN_FLIGHT = 2
"""Tasks handed out per worker of a local Ray: one that runs and one that waits, so that no worker idles."""

OBJECT_STORE_BYTES = 80 * 2**20
"""Of a local Ray: tasks and results are small, the data goes by files. Ray's own minimum is 75 MB."""

WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
"""One kernel per core: libraries that would use all cores inside a worker fight over them."""

LOOK_SECONDS = 0.2
"""How soon a run sees that it was cancelled."""

GIVE_UP_SECONDS = 3.0
"""How long tasks that are given up, and workers, may take to stop by themselves."""

REACH_SECONDS = 10.0
"""How long a cluster may take to answer."""

SHIPPED_VARIABLES = ("RUNNER_CACHE_DIR", "NUMBA_CACHE_DIR")
"""Taken to the workers of a cluster where the caller has them set."""


def _work(modules: Modules, pickled: bytes) -> bytes:
    """Runs in a worker. Exceptions travel as data, so that they arrive as they were raised, without Ray's wrapping."""
    install(modules)
    try:
        function, task = pickle.loads(pickled)  # noqa: S301  # made by this run's coordinator
    except RunnerError as error:
        return pickle.dumps((None, _portable(error)))
    try:
        return pickle.dumps((function(task), None))
    except Exception as error:
        return pickle.dumps((None, _portable(error)))


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # just made here
    except Exception:
        return EngineError(f"a task failed with {type(error).__name__}: {error}")
    return error


class RayEngine:
    """``address`` None starts a local Ray with ``workers`` workers; otherwise "auto", "host:port" or "ray://host:port".

    modules: the author's, for workers that lack them. Raises EngineError where Ray cannot be started or reached.
    """

    name = "ray"

    def __init__(self, workers: int, *, address: str | None = None, modules: Modules | None = None) -> None:
        if workers < 1:
            raise ValueError(f"an engine needs at least one worker, not {workers}")
        self.workers = workers
        self.address = address
        self._directory: Path | None = None
        self._scratch: Scratch | None = None
        self._cancelled = threading.Event()
        self._closed = False
        self._running = False
        self._printer: Any = None
        self._shipped = modules if modules is not None else Modules()
        ray = _import_ray()
        if ray.is_initialized():
            raise EngineError("this process has a Ray running already", hint="end it first, or use --engine threads")
        self._start(ray)

    def _start(self, ray: Any) -> None:
        """Unless it runs: a local Ray ends with tasks that are given up."""
        if self._running:
            return
        self._printer = _printer_replaced(ray, _note)
        try:
            if self.address is None:
                self._start_local(ray)
            else:
                self._connect(ray, self.address)
            self._modules = ray.put(self._shipped)
            self._call = ray.remote(_work)
        except BaseException:
            self.close()
            raise
        self._running = True

    def _start_local(self, ray: Any) -> None:
        # Ray's sockets lie inside, and their paths may have 107 characters: a long TMPDIR would not do.
        parent = tempfile.gettempdir()
        self._scratch = Scratch("runner-ray-", parent if len(parent) < 20 else "/tmp")  # noqa: S108
        self._directory = self._scratch.path
        environment = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_enable_metrics_collection": "0",
            **WORKER_ENVIRONMENT,
        }
        with _environment(environment), _as_found():
            try:
                ray.init(
                    address="local",
                    num_cpus=self.workers,
                    num_gpus=0,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(self._directory),
                )
            except Exception as error:
                raise EngineError(
                    f"a local Ray cannot be started: {_line(error)}",
                    hint="--engine threads does the same work in this process",
                ) from error

    def _connect(self, ray: Any, address: str) -> None:
        _check_reachable(address)
        variables = {name: os.environ[name] for name in SHIPPED_VARIABLES if name in os.environ}
        with _as_found():
            try:
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": {**WORKER_ENVIRONMENT, **variables}},
                )
            except Exception as error:
                raise EngineError(
                    f"Ray at {address} cannot be reached: {_line(error)}",
                    hint="see `ray status` there, or leave --address out",
                ) from error

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Generator[R, None, None]:
        ray = _import_ray()
        self._start(ray)
        self._cancelled.clear()
        call = self._call.options(max_retries=MAX_RETRIES, num_cpus=1, retry_exceptions=False)
        waiting = iter(tasks)
        # A cluster may have more cores than the run was given: there, what is handed out is what runs.
        room = self.workers * (IN_FLIGHT if self.address is None else 1)
        pending: list[Any] = []
        try:
            while True:
                while len(pending) < room:
                    try:
                        task = next(waiting)
                    except StopIteration:
                        break
                    pending.append(call.remote(self._modules, pickle.dumps((function, task))))
                if not pending:
                    return
                done, _ = ray.wait(pending, num_returns=1, timeout=LOOK_SECONDS)
                if self._cancelled.is_set():
                    raise Cancelled
                if not done:
                    continue
                pending.remove(done[0])
                yield self._result(ray, done[0])
        finally:
            self._give_up(ray, pending)

    def _result(self, ray: Any, reference: Any) -> Any:
        try:
            answer = ray.get(reference)
        except ray.exceptions.TaskCancelledError:
            raise Cancelled from None
        except ray.exceptions.RayTaskError as error:
            raise EngineError(
                f"a worker cannot take its task: {_line(error.cause)}",
                hint="the workers need the same releases of projection-runner and Python as this machine",
            ) from error
        except ray.exceptions.RayError as error:
            raise EngineError(
                f"a worker died {MAX_RETRIES + 1} times on the same task: {_line(error)}",
                hint="finished partitions are kept, `--resume` does the rest; fewer --workers need less memory",
            ) from error
        result, failure = pickle.loads(answer)  # noqa: S301  # made by this run's workers
        if failure is not None:
            raise failure
        return result

    def _give_up(self, ray: Any, pending: list[Any]) -> None:
        # Never by ray.cancel where it can be helped: with a task that completes at the same moment it aborts this whole
        # process (a failed check in Ray's task manager, seen with 2.60). A local Ray ends with its tasks and is started
        # again if it is needed; on a cluster tasks are asked first, and killed where that does not help.
        if pending and self.address is None:
            with held_interrupts():
                self._end(ray)
        elif pending:
            with suppress(Exception):
                left = pending
                for force, patience in ((False, GIVE_UP_SECONDS), (True, 10.0)):
                    for reference in left:
                        ray.cancel(reference, force=force)
                    if left:
                        # Until the workers have stopped they may write, and the run is not over.
                        _, left = ray.wait(left, num_returns=len(left), timeout=patience)
        pending.clear()

    def on_every_node(self, function: Callable[[T], R], task: T) -> tuple[NodeAnswer, ...]:
        ray = _import_ray()
        self._start(ray)
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        payload = pickle.dumps((function, task))
        asked = [
            (
                f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
                self._call.options(
                    num_cpus=0, max_retries=1, scheduling_strategy=strategy(node["NodeID"], soft=False)
                ).remote(self._modules, payload),
            )
            for node in ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) > 0
        ]
        answers = []
        for name, reference in asked:
            try:
                answers.append(NodeAnswer(name, self._result(ray, reference)))
            except Exception as error:
                answers.append(NodeAnswer(name, error))
        return tuple(answers)

    def cancel(self) -> None:
        # Seen by ``run`` within LOOK_SECONDS; Ray's own cancel is no matter for another thread (see ``_give_up``).
        self._cancelled.set()

    def close(self) -> None:
        if self._closed:
            return
        with held_interrupts():
            self._closed = True
            self._end(_import_ray())

    def _end(self, ray: Any) -> None:
        """Disconnect; a local Ray ends, and its workers are gone when this returns."""
        workers = _workers_below(self._directory)
        with suppress(Exception), _as_found():
            ray.shutdown()
        _, alive = psutil.wait_procs(workers, timeout=GIVE_UP_SECONDS)
        for worker in alive:
            with suppress(psutil.Error):
                worker.kill()
        if self._printer is not None:
            _printer_replaced(ray, self._printer)
        if self._scratch is not None:
            self._scratch.remove()
        self._directory = self._scratch = self._printer = None
        self._running = False


def _printer_replaced(ray: Any, printer: Any) -> Any:
    """What Ray prints on stdout by, even asked to be quiet: that a worker died. There it would spoil ``--json``."""
    worker = ray._private.worker  # noqa: SLF001  # no setting turns it off
    before = getattr(worker, "print_to_stdstream", None)
    if before is not None:
        worker.print_to_stdstream = printer
    return before


def _note(data: Any, *_options: Any, **_more: Any) -> None:
    _logger.info("%s", "\n".join(data["lines"]))


def _workers_below(directory: Path | None) -> list[psutil.Process]:
    """The worker processes of the local Ray that lies there: what its raylet has started."""
    if directory is None:
        return []
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any(str(directory) in word for word in child.cmdline()):
                found += child.children(recursive=True)
    return found


def _check_reachable(address: str) -> None:
    """Ray itself tries an address where nobody answers for minutes, and writes about it to stderr."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise EngineError(
            f"Ray at {address} cannot be reached: {error.strerror or error}",
            hint="see `ray status` there, or leave --address out",
        ) from error


def _import_ray() -> Any:
    # Else Ray puts a function of its own in the place of print, for good, which folds must not see as something else.
    os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    return ray


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Ray's processes inherit these; the caller's own environment is as before afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _as_found() -> Iterator[None]:
    """Ray sets a SIGTERM handler and warns about its own releases; the caller's process stays as it was."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            if main and before is not None:
                signal.signal(signal.SIGTERM, before)


def _line(error: BaseException | None) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
