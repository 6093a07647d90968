"""A measurement in a process of its own: ``python -m bench.child module:function '{"json": "arguments"}'``.

The parent calls :func:`measure` (or :func:`run_code` for bare snippets) and waits; the child runs the one function and
prints its result as the last line, in JSON. So no measurement meets the heap, the threads or the open files of another.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[1]
TIME_LIMIT_S: Final = 900.0  # ten million points on a slow disk beside a busy neighbour; beyond it something hangs


class MeasurementError(RuntimeError):
    """A child did not end well; the message is the end of what it wrote to stderr."""


def measure(function: str, **arguments: Any) -> dict[str, Any]:
    """Call ``module:function`` of this package in a fresh interpreter and return its result (a JSON object)."""
    output = _run([sys.executable, "-m", "bench.child", function, json.dumps(arguments)], function)
    result = json.loads(output.splitlines()[-1])
    if not isinstance(result, dict):
        raise MeasurementError(f"{function} returned no object")
    return result


def run_code(code: str) -> str:
    """What ``python -c code`` prints."""
    return _run([sys.executable, "-c", code], repr(code))


def _run(command: list[str], what: str) -> str:
    paths = [os.environ.get("PYTHONPATH", ""), str(REPOSITORY / "src"), str(REPOSITORY)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_") or name == "PENSTOCK_CORE"
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users import bytecode; without it an import is a compilation
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    try:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"{what} took longer than {TIME_LIMIT_S:g} s") from error
    if done.returncode != 0 or not done.stdout.strip():
        raise MeasurementError(f"{what} ended with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    if done.stderr.strip():  # a warning of the library belongs before the eyes of whoever reads the figures
        print(f"  [{what}] {done.stderr.strip()}", file=sys.stderr)
    return done.stdout


def main() -> None:
    """Run the one measurement that the command line names."""
    module, _, function = sys.argv[1].partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
