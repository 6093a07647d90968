"""Child scripts with a file system of their own: a small tmpfs in a mount namespace, which root or a user namespace
may make.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = 100


@functools.cache
def _namespace() -> list[str] | None:
    """The command that runs its arguments where they may mount, or None."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return None
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
        if subprocess.run(probe, capture_output=True, timeout=20, check=False).returncode == 0:
            return command
    return None


def on_small_disk(script: str, scenario: str, kept: Path, size_bytes: int) -> dict[str, Any]:
    """Run ``script`` in a child: arguments are the scenario, a tmpfs of this size, and a folder that outlives it.

    Returns the JSON that it printed. Skips the test where no file system can be mounted.
    """
    command = _namespace()
    if command is None:
        pytest.skip("neither root nor user namespaces may mount a tmpfs here")
    disk = kept / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={size_bytes} tmpfs "$1" && shift && exec "$@"'
    done = subprocess.run(
        [*command, "sh", "-c", mount, "sh", str(disk), sys.executable, "-W", "error", script, scenario, str(disk),
        str(kept)],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told["stderr"] = done.stderr
    return told
