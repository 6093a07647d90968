"""What is found out about the process, its host, its repository and its file systems."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from penstock._store import environment
from penstock._store.environment import (
    NO_BOOT,
    boot_id,
    capture,
    file_system_type,
    is_network_file_system,
    process_alive,
    process_start,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def repository(folder: Path, head: str = "ref: refs/heads/main") -> Path:
    git = folder / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(head + "\n")
    return git


# -- capture ------------------------------------------------------------------------------------------------------
def test_the_facts_of_this_process_are_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = capture()
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["implementation"] == "cpython"
    assert facts["pid"] == os.getpid()
    assert facts["cwd"] == str(tmp_path)
    assert facts["host"]
    assert facts["platform"].startswith(("Linux-", "Darwin-", "Windows-"))


def test_no_argument_and_no_variable_is_recorded_but_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/canary/train.py", "--api-key", "canary"])
    for variable in ("API_KEY", "PENSTOCK_API_KEY", "AWS_SECRET_ACCESS_KEY", "USER", "RANKING"):
        monkeypatch.setenv(variable, "canary")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("SLURM_PROCID", "")
    monkeypatch.setenv("SLURM_JOB_ID", "4711_2")
    facts = capture()
    assert facts["script"] == "train.py"
    assert facts["ranks"] == {"rank": 3, "local_rank": 1, "world_size": 8, "slurm_job_id": "4711_2"}
    assert "canary" not in repr(facts)


@pytest.mark.parametrize("text", ["9" * 18, "9" * 19, "9" * 5000, "-1", "\u0663", "a\nb"])
def test_a_rank_that_is_no_small_integer_stays_a_text_or_is_left_out(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RANK", text)
    rank = environment.ranks().get("rank")
    assert rank == {"9" * 18: 10**18 - 1, "9" * 5000: None, "a\nb": None}.get(text, text)
    msgspec.json.encode(rank)


@linux
def test_names_that_are_no_utf8_are_spelled_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    os.chdir(folder)
    try:
        monkeypatch.setattr(sys, "argv", [os.fsdecode(b"/x/\xff.py")])
        facts = capture()
    finally:
        os.chdir("/")
    assert facts["cwd"].endswith(r"/caf\udce9")
    assert facts["script"] == r"\udcff.py"
    msgspec.json.encode(facts)


def test_facts_that_cannot_be_found_out_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.delattr(sys, "argv")
    facts = capture()
    assert (facts["cwd"], facts["git"], facts["script"]) == (None, None, None)


# -- git ----------------------------------------------------------------------------------------------------------
def test_the_commit_of_a_branch_is_found_from_a_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository(tmp_path) / "refs/heads/main").write_text(COMMIT + "\n")
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert capture()["git"] == {"commit": COMMIT, "branch": "main"}


def test_a_detached_head_has_a_commit_and_no_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path, head=COMMIT)
    monkeypatch.chdir(tmp_path)
    assert capture()["git"] == {"commit": COMMIT, "branch": None}


def test_an_unborn_branch_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert capture()["git"] == {"commit": None, "branch": "main"}


def test_a_packed_branch_is_found_whole_and_a_loose_one_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = repository(tmp_path, head="ref: refs/heads/feature/x")
    (git / "packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted \n"
        f"{OTHER} refs/heads/feature/x2\n{OTHER} refs/heads/old/refs/heads/feature/x\n"
        f"{COMMIT} refs/heads/feature/x\n{OTHER} refs/tags/v1\n^{OTHER}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert capture()["git"] == {"commit": COMMIT, "branch": "feature/x"}
    (git / "refs/heads/feature").mkdir()
    (git / "refs/heads/feature/x").write_text(OTHER + "\n")
    assert capture()["git"] == {"commit": OTHER, "branch": "feature/x"}


@pytest.mark.parametrize(
    "head", ["", "garbage", "ref: ../../secret", "ref: refs/../../secret", "ref: refs/heads/.invalid", "g" * 40]
)
def test_a_head_that_is_none_gives_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str) -> None:
    repository(tmp_path / "work", head=head)
    (tmp_path / "secret").write_text(COMMIT)
    monkeypatch.chdir(tmp_path / "work")
    assert capture()["git"] == {"commit": None, "branch": None}


def test_refs_in_a_circle_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository(tmp_path) / "refs/heads/main").write_text("ref: refs/heads/main\n")
    monkeypatch.chdir(tmp_path)
    assert capture()["git"] == {"commit": None, "branch": "main"}


def test_outside_a_repository_git_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").write_text("not a pointer\n")
    monkeypatch.chdir(tmp_path)
    above = environment._git_folder(tmp_path.parent)  # a developer's temporary folder may lie in a repository
    assert (capture()["git"] is None) == (above is None)


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with the real git")
def test_what_is_read_is_what_git_says_in_a_clone_a_worktree_and_after_packing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path))

    def git(folder: Path, *arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "trunk")
    git(work, "commit", "-q", "--allow-empty", "-m", "one")
    git(work, "worktree", "add", "-q", "-b", "side/branch", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "two")
    for _ in ("loose", "packed"):
        for folder, branch in ((work, "trunk"), (tmp_path / "tree", "side/branch")):
            monkeypatch.chdir(folder)
            assert capture()["git"] == {"commit": git(folder, "rev-parse", "HEAD"), "branch": branch}
        git(work, "pack-refs", "--all")
    assert not (work / ".git/refs/heads/trunk").exists()


# -- processes ----------------------------------------------------------------------------------------------------
@linux
def test_the_boot_id_is_that_of_the_kernel() -> None:
    text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot_id() == bytes.fromhex(text.replace("-", ""))
    assert boot_id() != NO_BOOT


@linux
def test_this_process_is_alive_and_one_of_another_start_or_boot_is_not() -> None:
    pid, start = os.getpid(), process_start(os.getpid())
    assert start > 0
    assert process_alive(pid, start, boot_id()) is True
    assert process_alive(pid, start, NO_BOOT) is True
    assert process_alive(pid, start + 1, boot_id()) is False  # the number was given to another process
    assert process_alive(pid, start, bytes(range(16))) is False
    assert process_alive(pid, 0, boot_id()) is None


@pytest.mark.parametrize("pid", [0, -1])
def test_of_no_process_nothing_is_known(pid: int) -> None:
    assert process_alive(pid, 1, NO_BOOT) is None


@linux
@pytest.mark.parametrize("pid", [2**22 + 1, 2**40])  # beyond the largest number the kernel gives
def test_a_number_that_no_process_has_is_not_alive(pid: int) -> None:
    assert process_start(pid) == 0
    assert process_alive(pid, 5, boot_id()) is False


@linux
def test_a_killed_child_is_dead_before_it_was_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        start = process_start(child.pid)
        assert process_alive(child.pid, start, boot_id()) is True
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        assert process_alive(child.pid, start, boot_id()) is False
        child.wait()
        assert process_alive(child.pid, start, boot_id()) is False


@linux
def test_a_process_whose_main_thread_has_ended_is_alive() -> None:
    code = (
        "import ctypes, os, sys, threading\n"
        "threading.Thread(target=sys.stdin.read).start()\n"
        "print('ready', flush=True)\n"
        "exit_thread = {'x86_64': 60}.get(os.uname().machine, 93)\n"
        "ctypes.CDLL(None).syscall(exit_thread, 0)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        start = process_start(child.pid)
        for _ in range(1000):  # until its first thread is gone
            if Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2].startswith("Z"):
                break
            os.sched_yield()
        assert process_alive(child.pid, start, boot_id()) is True
        child.kill()


@linux
def test_a_program_name_with_parentheses_and_spaces_does_not_shift_the_fields(tmp_path: Path) -> None:
    sleep = shutil.which("cat")
    assert sleep is not None
    odd = tmp_path / "a) Z 1 (b"
    shutil.copy(sleep, odd)
    with subprocess.Popen([odd], stdin=subprocess.PIPE) as child:
        assert Path(f"/proc/{child.pid}/comm").read_text() == "a) Z 1 (b\n"
        assert process_start(child.pid) >= process_start(os.getpid())
        assert process_alive(child.pid, process_start(child.pid), boot_id()) is True
        child.kill()


# -- file systems -------------------------------------------------------------------------------------------------
MOUNTS = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:25 / /data ro,nosuid shared:1 master:2 - nfs4 host:/export ro
29 27 0:26 / /data/local rw - xfs /dev/vdb rw
30 27 0:27 / /mnt/two\040words\134\011 rw - fuse.sshfs me@host:/ rw
31 27 0:28 / /over rw - ext4 /dev/vdc rw
32 27 0:29 / /over rw - tmpfs tmpfs rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/", b"ext4"),
        (b"/home/me", b"ext4"),
        (b"/data", b"nfs4"),
        (b"/data/x", b"nfs4"),
        (b"/database/x", b"ext4"),
        (b"/data/local/x", b"xfs"),
        (b"/data/localities", b"nfs4"),
        (b"/mnt/two words\\\t/x", b"fuse.sshfs"),
        (b"/over/x", b"tmpfs"),
    ],
)
def test_the_longest_mount_point_decides(path: bytes, kind: bytes) -> None:
    assert environment._longest_mount(MOUNTS, path) == kind.decode()


@pytest.mark.parametrize(
    ("kind", "network"),
    [(kind, True) for kind in ("nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "gpfs", "9p", "fuse.sshfs", "fuse")]
    + [(kind, False) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.mergerfs", "")],
)
def test_network_file_systems_are_known_by_their_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, network: bool
) -> None:
    monkeypatch.setattr(environment, "file_system_type", lambda _path: kind)
    assert is_network_file_system(tmp_path) is network


@linux
def test_the_kernel_s_own_table_is_read_and_links_are_followed(tmp_path: Path) -> None:
    assert file_system_type("/proc/self") == "proc"
    (tmp_path / "link").symlink_to("/proc")
    assert file_system_type(tmp_path / "link") == "proc"
    assert file_system_type(tmp_path / "not" / "yet" / "there") == file_system_type(tmp_path) != ""


@pytest.mark.parametrize("path", ["a\0b", 5])
def test_a_path_that_is_none_has_no_file_system(path: object) -> None:
    assert file_system_type(path) == ""  # type: ignore[arg-type]
    assert is_network_file_system(path) is False  # type: ignore[arg-type]
