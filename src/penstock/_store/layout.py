"""Where everything of one run lies: paths only, no I/O.

::

    <root>/<workspace>/<name>/
      session.json  parameters.json
      logs/logs.jsonl               logs/logs.<writer>.jsonl
      tracks/<track>/data.jsonl     tracks/<track>/data.<writer>.jsonl   tracks/<track>/metadata.json
      files/<path>/<filename>       files/.files_metadata.json
      .journal/<writer>.ring        .journal/*.lock

The first writer of a run owns the plain line files; every further process that holds the run open at the same
time writes beside them under its own writer id. This module must not know who writes and who reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

SESSION_DOCUMENT: Final = "session.json"
PARAMETERS_DOCUMENT: Final = "parameters.json"
TRACK_DOCUMENT: Final = "metadata.json"
FILES_DOCUMENT: Final = ".files_metadata.json"
JOURNAL_FOLDER: Final = ".journal"
RESERVED: Final = frozenset({SESSION_DOCUMENT, PARAMETERS_DOCUMENT, JOURNAL_FOLDER, "logs", "tracks", "files"})


class RunFolder(NamedTuple):
    """The paths of one run. ``path`` is absolute; nothing is created here."""

    path: Path

    @property
    def session(self) -> Path:
        return self.path / SESSION_DOCUMENT

    @property
    def parameters(self) -> Path:
        return self.path / PARAMETERS_DOCUMENT

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def tracks(self) -> Path:
        return self.path / "tracks"

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def files_document(self) -> Path:
        return self.files / FILES_DOCUMENT

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL_FOLDER

    @property
    def documents_lock(self) -> Path:
        """Held while one of the JSON documents is read, changed and replaced."""
        return self.journal / "documents.lock"

    @property
    def writer_lock(self) -> Path:
        """Held for life by the process that owns the plain line files (``data.jsonl``, ``logs.jsonl``)."""
        return self.journal / "writer.lock"

    def track(self, name: str) -> Path:
        """Folder of a track; ``name`` is a checked name in which "/" nests."""
        return self.tracks.joinpath(*name.split("/"))

    def track_document(self, name: str) -> Path:
        return self.track(name) / TRACK_DOCUMENT

    def points(self, name: str, suffix: str) -> Path:
        """Line file of a track; ``suffix`` is "" for the owner of the run and a writer id for everybody else."""
        return self.track(name) / line_file_name("data", suffix)

    def log_lines(self, suffix: str) -> Path:
        return self.logs / line_file_name("logs", suffix)


def line_file_name(stem: str, suffix: str) -> str:
    """``data.jsonl`` for the owner of a run, ``data.<writer>.jsonl`` for its further writers."""
    return f"{stem}.{suffix}.jsonl" if suffix else f"{stem}.jsonl"


def line_file_suffix(stem: str, filename: str) -> str | None:
    """The writer id in a line file's name: "" for the plain file, None when it is no line file of ``stem``."""
    if not (filename.startswith(f"{stem}.") and filename.endswith(".jsonl")):
        return None
    middle = filename[len(stem) : -len(".jsonl")]
    if middle == "":
        return ""
    return middle[1:] if middle.count(".") == 1 and len(middle) > 1 else None
