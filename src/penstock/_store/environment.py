"""What is known of this process, its host and its files: for session.json, for journals, for where journals go.

Runs on the thread that opens a session, and in recovery; reads a few small files of /proc and of ``.git``, runs no
program. Invariants: nothing here raises, what cannot be found out is None, 0, zeros or ""; no argument value and no
environment variable is recorded but the ranks of a distributed job, since those places hold people's secrets.
Must not know what a session or a journal is, nor decide what follows from its answers.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

RANK_VARIABLES: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_JOB_ID")
NO_BOOT: Final = bytes(16)
_TEXT: Final = 256  # longest rank or branch that is recorded; longer is not what it claims to be
_PACKED_REFS_BYTES: Final = 8 << 20  # about 130,000 refs; beyond it, finding one would take longer than it is worth
_SYMBOLIC_DEPTH: Final = 5  # as deep as git itself follows refs that point to refs
_OBJECT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")  # SHA-1 or SHA-256

_INTEGER: Final = re.compile(r"[0-9]{1,18}")  # what surely fits into 64 bits

# Where a shared mapping or an append of two hosts may not mean what it means on a local disk.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    """9p afs beegfs ceph cifs coda davfs gfs gfs2 glusterfs gpfs lustre lustre_lite mfs ncpfs nfs nfs3 nfs4 ocfs2
    orangefs panfs pvfs2 quobyte smb2 smb3 smbfs virtiofs vboxsf vmhgfs wekafs""".split()
)
# Any other FUSE is taken for a network: sshfs, s3fs, gcsfuse, rclone, JuiceFS, MooseFS, ... and what comes next.
LOCAL_FUSE: Final = frozenset(
    """fuse.bindfs fuse.cryfs fuse.encfs fuse.exfat fuse.fuse-overlayfs fuse.gocryptfs fuse.lxcfs fuse.mergerfs
    fuse.ntfs fuse.ntfs-3g fuse.securefs fuse.unionfs fuse.zfs fuseblk fusectl""".split()
)


# -- what session.json keeps -------------------------------------------------------------------------------------
def capture() -> dict[str, Any]:
    """This process as JSON values; a fact that cannot be found out is None (``git``, ``ranks``: absent facts missing).

    ``script`` is the name of the script without its folder and arguments; ``git`` is None outside a repository.
    """
    return {
        "python": sys.version.split()[0],
        "implementation": sys.implementation.name,
        "platform": _or_none(_platform),
        "host": _or_none(host),
        "pid": os.getpid(),
        "script": _or_none(_script),
        "cwd": _or_none(os.getcwd),
        "penstock": getattr(sys.modules.get("penstock"), "__version__", None),
        "git": _or_none(_git),
        "ranks": ranks(),
    }


def host() -> str:
    """The network name of this machine or container; "" when it has none."""
    if sys.platform != "win32":
        return os.uname().nodename
    return os.environ.get("COMPUTERNAME", "")


def ranks() -> dict[str, int | str]:
    """This process's place in a distributed job, by the lower-case names of RANK_VARIABLES; {} outside of one."""
    found: dict[str, int | str] = {}
    for variable in RANK_VARIABLES:
        text = os.environ.get(variable, "")
        if 0 < len(text) <= _TEXT and text.isprintable():
            found[variable.lower()] = int(text) if _INTEGER.fullmatch(text) else text
    return found


def _or_none(fact: Callable[[], Any]) -> Any:
    try:
        found = fact()
    except Exception:  # noqa: BLE001 - a run is not refused because something about its host is odd
        return None
    return _legible(found) if isinstance(found, str) else found


def _legible(text: str) -> str:
    """The same text with bytes that are no UTF-8 (file names may hold any) spelled out, as JSON wants it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _platform() -> str:
    if sys.platform != "win32":
        system = os.uname()
        return f"{system.sysname}-{system.release}-{system.machine}"
    version = sys.getwindowsversion()
    return f"Windows-{version.major}.{version.minor}.{version.build}"


def _script() -> str | None:
    return os.path.basename(sys.argv[0]) or None


# -- git, without git --------------------------------------------------------------------------------------------
def _git() -> dict[str, str | None] | None:
    folder = _git_folder(Path.cwd())
    if folder is None:
        return None
    shared = folder
    pointer = _line(folder / "commondir")  # present in a worktree: branches live in the main repository
    if pointer:
        shared = folder / pointer
    head = _line(folder / "HEAD")
    name, branch = head, None
    for _ in range(_SYMBOLIC_DEPTH):
        if not name.startswith("ref: refs/") or ".." in name:
            break
        ref = name.removeprefix("ref: ")
        branch = branch or ref.removeprefix("refs/heads/")
        name = _line(folder / ref) or _line(shared / ref) or _packed(shared / "packed-refs", ref)
    if branch is not None and (len(branch) > _TEXT or branch == ".invalid"):  # .invalid: branches are in a reftable
        branch = None
    return {"commit": name if _OBJECT.fullmatch(name) else None, "branch": branch and _legible(branch)}


def _git_folder(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        entry = folder / ".git"
        if entry.is_dir():
            if (entry / "HEAD").is_file():
                return entry
        elif entry.is_file():  # a worktree or a submodule
            pointer = _line(entry)
            if pointer.startswith("gitdir: "):
                return folder / pointer.removeprefix("gitdir: ")
    return None


def _line(path: Path) -> str:
    """The first line of a small file; "" when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(4096).split(b"\n", 1)[0].decode("utf-8", "surrogateescape").strip()
    except OSError:
        return ""


def _packed(path: Path, ref: str) -> str:
    try:
        if path.stat().st_size > _PACKED_REFS_BYTES:
            return ""
        data = b"\n" + path.read_bytes()
    except OSError:
        return ""
    end = data.find(b" " + os.fsencode(ref) + b"\n")
    return "" if end < 0 else data[data.rfind(b"\n", 0, end) + 1 : end].decode("ascii", "replace")


# -- processes ---------------------------------------------------------------------------------------------------
def boot_id() -> bytes:
    """16 bytes that differ after every start of the machine; zeros where that cannot be found out."""
    try:
        if sys.platform == "darwin":
            return _boot_id_of_macos()
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            found = bytes.fromhex(file.read(64).decode("ascii").replace("-", ""))
    except Exception:  # noqa: BLE001
        return NO_BOOT
    return found if len(found) == len(NO_BOOT) else NO_BOOT


def _boot_id_of_macos() -> bytes:
    import ctypes
    import uuid

    text = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(text))
    # Not kern.boottime: it moves when the clock is set.
    failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", text, ctypes.byref(size), None, 0)
    return NO_BOOT if failed else uuid.UUID(text.value.decode("ascii")).bytes


def process_start(pid: int) -> int:
    """When a process started, in clock ticks since the boot (Linux); 0 when there is no such process, or elsewhere."""
    return _stat(pid)[0]


def process_alive(pid: int, start: int, boot: bytes) -> bool | None:
    """Whether the process that was (pid, start, boot) still runs on this host; None when that cannot be told.

    ``start`` is of :func:`process_start` and ``boot`` of :func:`boot_id`, taken by that process; 0 and zeros mean
    unknown. A zombie does not run: it writes no more. The caller has made sure that the process was one of this host
    and of this process-id namespace; from a neighbouring container a process looks as if it were gone.
    """
    if pid <= 0:
        return None
    here = boot_id()
    if NO_BOOT not in (boot, here) and boot != here:
        return False
    now, gone = _stat(pid)
    if now:
        return False if gone or (start and now != start) else True if start else None
    if sys.platform == "win32":  # os.kill(pid, 0) is no question there, it interrupts the process
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return None  # somebody has that number, and we may not look who


def _stat(pid: int) -> tuple[int, bool]:
    """(start time, whether only its entry is left) from /proc/<pid>/stat; (0, False) when it cannot be read."""
    try:
        with open(f"/proc/{pid:d}/stat", "rb") as file:
            data = file.read(4096)
        # Field 2 is the program's name in parentheses: it may hold spaces and parentheses, so count from the last one.
        fields = data[data.rindex(b")") + 2 :].split()
        state, threads, start = fields[0], int(fields[17]), int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0, False
    return start, state in (b"X", b"x") or (state == b"Z" and threads <= 1)  # Z with threads: only main() has ended


# -- file systems ------------------------------------------------------------------------------------------------
def file_system_type(path: str | os.PathLike[str]) -> str:
    """The type of the file system that ``path`` lies on or would lie on ("ext4", "nfs4"); "" when unknown.

    From /proc/self/mountinfo (Linux): the longest mount point that the resolved path starts with, the last of equals.
    """
    try:
        wanted = os.fsencode(os.path.realpath(path))
        with open("/proc/self/mountinfo", "rb") as file:
            return _longest_mount(file.read(), wanted)
    except (OSError, ValueError, TypeError):
        return ""


def _longest_mount(table: bytes, wanted: bytes) -> str:
    best, found = -1, b""
    for line in table.splitlines():
        mount, _, rest = line.partition(b" - ")
        fields, kind = mount.split(b" "), rest.split(b" ", 1)[0]
        if len(fields) < 5 or not kind:
            continue
        point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), fields[4])
        inside = wanted == point or wanted.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= best:
            best, found = len(point), kind
    return found.decode("ascii", "replace")


def is_network_file_system(path: str | os.PathLike[str]) -> bool:
    """Whether other hosts may see the same files there, so that no mapping should be trusted; False when unknown."""
    kind = file_system_type(path)
    return kind in NETWORK_FILE_SYSTEMS or (kind.startswith("fuse") and kind not in LOCAL_FUSE)
