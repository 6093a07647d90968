"""tracks/<track>/metadata.json: what people and Dreamlake read beside a line file. Kept current at flush and close.

Runs on the thread that flushes or closes, after the lines are written. The counters in it are a convenience, derived
from the line files; nothing in penstock relies on them. The owner of the run writes every document; a further writer
only those that are missing or that it has something to say about. Must not know rings or journals."""

from __future__ import annotations

from penstock._codec.lines import POINT_KEY
from penstock._codec.times import iso, now_ns
from penstock._store import linefile, notices
from penstock._store.documents import read_document, replace_document
from penstock._store.facts import Facts
from penstock._store.layout import RunFolder, line_file_suffix
from penstock.errors import DocumentError


class TrackDocuments:
    """Writes the documents of one session's tracks; remembers what it wrote last."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._facts: dict[str, Facts] = {}
        self._written: dict[str, int] = {}

    def say(self, name: str, facts: Facts) -> None:
        """Remember what was said about a track; written with the next ``write``."""
        old = self._facts.get(name, Facts())
        said = facts.said()
        self._facts[name] = old._replace(**said)
        self._written.pop(name, None)

    def write(self, nexts: dict[str, int], suffix: str) -> None:
        """Bring the documents up to date. ``nexts`` maps tracks to the next index of our line file of them.

        Trouble with the disk or a corrupt document is warned about; nothing is raised.
        """
        for name, following in nexts.items():
            if self._written.get(name) == following or (following == 0 and name not in self._facts):
                continue
            try:
                self._write_one(name, following, suffix)
            except (OSError, DocumentError) as error:
                notices.warn(
                    "track document", f"{self._folder.track_document(name)} was not brought up to date: {error}"
                )
            else:
                self._written[name] = following

    def _write_one(self, name: str, following: int, suffix: str) -> None:
        path = self._folder.track_document(name)
        old = read_document(path) or {}
        facts = self._facts.get(name)
        if suffix and old and facts is None:
            return
        now = iso(now_ns())
        facts = facts or Facts()
        path.parent.mkdir(parents=True, exist_ok=True)
        said = facts.said()
        ours = following if not suffix else 0  # a further writer's file is counted with the others
        document = {
            "trackId": old.get("trackId", f"local-track-{name}"), "name": name, "description": old.get("description"),
            "tags": old.get("tags", []), "metadata": old.get("metadata"), "totalDataPoints": ours + self._others(name),
            "nextIndex": ours or old.get("nextIndex", 0), "createdAt": old.get("createdAt", now), "updatedAt": now,
        }  # fmt: skip
        replace_document(path, {**document, **said}, durable=False)

    def _others(self, name: str) -> int:
        total = 0
        for path in self._folder.track(name).glob("data.*.jsonl"):
            if line_file_suffix("data", path.name):
                total += linefile.tail(path, POINT_KEY).last + 1
        return total
