"""Where a run's journals lie: beside the run, or on a local disk when the run is on a network file system.

A shared mapping is only coherent on a local disk, so there the journal goes to ``journal_dir`` or to a private folder
under the temporary folder of this host. The same run finds it again by the same rule. Looks at the file system,
creates nothing but that private folder; must not know what a journal is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from penstock._store.environment import is_network_file_system
from penstock._store.layout import RunFolder


def journal_folder(folder: RunFolder, journal_dir: Path | None) -> Path:
    """The folder of the run's journals. Raises OSError when a private folder is somebody else's."""
    if journal_dir is not None:
        return journal_dir / _key(folder)
    if not is_network_file_system(folder.path):
        return folder.journal
    base = Path(os.environ.get("SLURM_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    private = base / f"penstock-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.lstat(private)
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        raise PermissionError(f"{private} belongs to somebody else: set journal_dir to a local folder of your own")
    return private / _key(folder)


def _key(folder: RunFolder) -> str:
    import hashlib

    return hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:24]
