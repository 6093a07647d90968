"""Child processes of the fault tests: started from a module of this folder, with a time limit, never left behind.

A child is ``python tests/faults/<module>.py <function> <arguments>`` in a session (process group) of its own. It speaks
by lines on stdout; its stderr is kept in a file. A child that outlives its limit is a hang: it is made to dump the
stacks of all its threads (faulthandler on SIGUSR2), its whole group is killed, and the test fails with those stacks.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LIMIT_S = 40.0  # far above what any child needs on a busy machine, far below the limit of a whole test
# Children fork on purpose while threads run; every other warning in a child is an error, as it is in the tests.
WARNINGS = ("-W", "error", "-W", "ignore:This process (pid=:DeprecationWarning")


class Ended(NamedTuple):
    """How a child ended: exit code, or minus the signal that killed it."""

    status: int
    stdout: str
    stderr: str


class Child:
    """One running child. Use as a context manager: leaving it kills whatever is left of its process group."""

    def __init__(self, folder: Path, module: str, function: str, *arguments: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = folder / f"{module}.{function}.{time.monotonic_ns()}.stderr"
        paths = [str(REPOSITORY), str(REPOSITORY / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-P", *WARNINGS, HERE / f"{module}.py", function]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, *map(str, arguments)], cwd=folder, env=environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, bufsize=0, start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid
        resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))  # a child that dies by SIGSEGV leaves no core file
        self._heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    # -- talking -----------------------------------------------------------------------------------------------------

    def hear(self, limit_s: float = LIMIT_S) -> str:
        """The next line that the child writes."""
        deadline_s = time.monotonic() + limit_s
        while b"\n" not in self._heard:
            assert self._read(deadline_s), f"the child ended without the line that was awaited\n{self.stderr()}"
        line, self._heard = self._heard.split(b"\n", 1)
        return line.decode()

    def rest(self, limit_s: float = LIMIT_S) -> str:
        """Everything else that the child and its descendants write: waits until the last of them has ended."""
        deadline_s = time.monotonic() + limit_s
        while self._read(deadline_s):
            pass
        return self._heard.decode()

    def _read(self, deadline_s: float) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            self._hung("said nothing")
        block = os.read(pipe.fileno(), 65_536)
        self._heard += block
        return block

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    # -- ending ------------------------------------------------------------------------------------------------------

    def send(self, signal_number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended by itself meanwhile
            self._process.send_signal(signal_number)

    def running(self, limit_s: float = 0.0) -> bool:
        """Whether it still runs, after at most ``limit_s``."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(limit_s)
        return self._process.returncode is None

    def end(self, limit_s: float = LIMIT_S) -> int:
        """Wait for the child's end; its exit code, or minus the signal that killed it."""
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self._hung("did not end")

    def stderr(self) -> str:
        return self._errors.read_text(errors="replace")

    def _hung(self, what: str) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGUSR2)
        time.sleep(1)  # the child is stuck: nothing says when its stacks are written
        raise AssertionError(f"the child {self._process.args!r} {what} within its time limit\n{self.stderr()}")


def ended(folder: Path, module: str, function: str, *arguments: object, limit_s: float = LIMIT_S) -> Ended:
    """Run a child to its end, and to the end of its descendants."""
    with Child(folder, module, function, *arguments) as child:
        said = child.rest(limit_s)
        return Ended(child.end(limit_s), said, child.stderr())


@contextmanager
def together(children: list[Child]) -> Iterator[list[Child]]:
    """Several children at once, none left behind."""
    try:
        yield children
    finally:
        for child in children:
            child.__exit__(None, None, None)


def say(line: str) -> None:
    """In a child: one line to the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def call(functions: dict[str, object]) -> None:
    """In a child: run the function that the test named, with its arguments as text."""
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    chosen = functions[sys.argv[1]]
    assert callable(chosen)
    chosen(*sys.argv[2:])
