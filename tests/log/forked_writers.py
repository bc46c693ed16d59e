"""A program that forks writers of logs: a line of JSON each, ``[path, what, step]``, answered with a line of JSON.

- ``crash``: ``crashing_writer.main``, killed at the step; answers the child's wait status.
- ``start``: the same, stopped by SIGSTOP at the step; answers its process id once it is stopped.
- ``finish``: waits for such a child (its id in the place of the step) that the caller let go on; answers
  ``[exit code, what it said]``.

Starting a Python for each would take longer than what they do. The program itself never opens an object store: the
client's threads would not be there after a fork.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import tempfile
from pathlib import Path

import crashing_writer

from runner.errors import RunnerError

KILL = signal.SIGKILL


def forked(path: object, env: dict[str, str], said: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.environ.update(env)
        crashing_writer.main(path)
        code = 0
    except RunnerError as error:
        said.write_text(f"{type(error).__name__}: {error}")
        code = 1
    finally:
        os._exit(code)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        crashing_writer.main(str(Path(folder) / "warm"))  # kernels are loaded once
        texts: dict[int, Path] = {}
        say("ready")
        for line in sys.stdin:
            pickled, what, step = json.loads(line)
            said = Path(folder) / f"said-{len(texts)}"
            if what == "finish":
                _, status = os.waitpid(int(step), 0)
                text = texts[int(step)]
                answer: object = [os.waitstatus_to_exitcode(status), text.read_text() if text.exists() else ""]
            else:
                # ``reached`` ends a process by this name of the module, which is set for each child anew.
                signal.SIGKILL = signal.SIGSTOP if what == "start" else KILL  # type: ignore[misc]
                path = pickle.loads(bytes.fromhex(pickled))
                child = forked(path, {"RUNNER_CRASH_AT": step}, said)
                texts[child] = said
                _, status = os.waitpid(child, os.WUNTRACED)
                answer = child if os.WIFSTOPPED(status) else status
            say(json.dumps(answer))


if __name__ == "__main__":
    main()
