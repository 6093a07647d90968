"""A run's parameters: nested mappings kept as one flat JSON document with dot keys (parameters.json).

Every ``set`` reads the document, merges and replaces it under the run's document lock, so processes and threads
that set different keys at the same time all get their keys in. Values are converted before the lock is taken: a
value that cannot be stored leaves the document as it was. A key never stands beside a key below it ("a" and "a.b").

Runs on the caller's thread; the ``a`` twins move to a worker thread of the running event loop. Must not know the
session, the journal or the writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Self

import msgspec

from penstock._codec.times import iso, now_ns
from penstock._codec.values import from_stored, plain, text, to_stored, type_name_of
from penstock._store.documents import corrupt_document, read_document, replace_document
from penstock._store.gate import Gate
from penstock._store.layout import RunFolder
from penstock._store.locks import FileLock
from penstock.errors import FieldTypeError, FieldValueError
from penstock.limits import DEPTH

_WHERE: Final = "parameters"


class _Document(msgspec.Struct):
    """What parameters.json must look like to be understood; further keys are kept as they are."""

    data: dict[str, Any]
    version: int = 0
    createdAt: str | None = None
    updatedAt: str | None = None


class ParametersBuilder:
    """What ``session.parameters()`` returns. ``folder`` None (``mode="disabled"``) stores nothing."""

    __slots__ = ("_folder", "_gate")

    def __init__(self, folder: RunFolder | None, gate: Gate) -> None:
        self._folder = folder
        self._gate = gate

    def set(self, /, *mappings: Mapping[str, Any], **values: Any) -> Self:
        """Merge parameters into the run's, durably; returns the builder, so calls can be chained.

        Nested mappings become dot keys (``model={"depth": 50}`` is ``"model.depth"``), and a key with dots counts
        as such. What is set later wins; a mapping over a single value (or the reverse) removes what it replaces.
        An empty mapping is kept as ``{}`` where there is nothing below it yet. Lists are values.

        Raises TypeError or ValueError naming the key for a value or key that cannot be stored, DocumentError when
        parameters.json is corrupt, TimeoutError when another process keeps the lock; then nothing was changed.
        """
        self._gate.check_writable()
        if self._folder is None:
            return self
        for mapping in mappings:
            if not isinstance(mapping, Mapping):
                hint = "; parameters without a name must come as a mapping of names to values"
                raise FieldTypeError(_WHERE, "", type_name_of(mapping), hint)
        given = [
            (key, to_stored(plain(_WHERE, key, value)))
            for mapping in (*mappings, values)
            for key, value in _flat(mapping, None, ".", 0)
        ]
        if given:
            self._store(self._folder, given)
        return self

    def get(self, flatten: bool = True) -> dict[str, Any]:
        """All parameters, ``{}`` if none were set: with dot keys, or nested again with ``flatten=False``.

        Raises DocumentError when parameters.json is corrupt.
        """
        self._gate.check_open()
        document = None if self._folder is None else _read(self._folder)
        if document is None:
            return {}
        data: dict[str, Any] = from_stored(document["data"])
        return data if flatten else self.unflatten_dict(data)

    async def aset(self, /, *mappings: Mapping[str, Any], **values: Any) -> Self:
        """:meth:`set` without blocking the event loop (asyncio or trio)."""
        from anyio import to_thread

        return await to_thread.run_sync(partial(self.set, *mappings, **values))

    async def aget(self, flatten: bool = True) -> dict[str, Any]:
        """:meth:`get` without blocking the event loop (asyncio or trio)."""
        from anyio import to_thread

        return await to_thread.run_sync(self.get, flatten)

    @staticmethod
    def flatten_dict(d: Mapping[str, Any], parent_key: str = "", sep: str = ".") -> dict[str, Any]:
        """``{"a": {"b": 1}}`` as ``{"a.b": 1}``; an empty mapping stays as ``{}``. Keys must be text."""
        return _merged({}, _flat(d, parent_key or None, sep, 0), sep)

    @staticmethod
    def unflatten_dict(d: Mapping[str, Any], sep: str = ".") -> dict[str, Any]:
        """The reverse of :meth:`flatten_dict`. A key below one that holds a value keeps its dots: none is lost."""
        nested: dict[str, Any] = {}
        for key, value in d.items():
            parents = list(_above(key, sep))
            if any(parent in d and not _is_empty(d[parent]) for parent in parents):
                nested[key] = value
                continue
            *folders, name = key.split(sep)
            place = nested
            for folder in folders:
                place = place.setdefault(folder, {})
            place.setdefault(name, {} if _is_empty(value) else value)
        return nested

    def _store(self, folder: RunFolder, given: list[tuple[str, Any]]) -> None:
        folder.path.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.documents_lock):
            document = _read(folder) or {"version": 0, "data": {}}
            now = iso(now_ns())
            # Dreamlake dropped createdAt at its second write; its updatedAt is then the oldest time known.
            created = document.get("createdAt") or document.get("updatedAt") or now
            data = _merged(document["data"], given, ".")
            version = document.get("version", 0) + 1
            known = {"version": version, "data": data, "createdAt": created, "updatedAt": now}
            kept = {key: value for key, value in document.items() if key not in known}
            replace_document(folder.parameters, known | kept)


def _read(folder: RunFolder) -> dict[str, Any] | None:
    document = read_document(folder.parameters)
    if document is None:
        return None
    try:
        msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise corrupt_document(folder.parameters, str(error)) from error
    return document


def _flat(mapping: Mapping[str, Any], parent: str | None, sep: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Keys with their mappings' keys in front, and the values that are no mappings or empty ones."""
    if depth >= DEPTH:
        raise FieldValueError(_WHERE, parent or "", f"is nested more than {DEPTH} levels deep, or contains itself")
    for name, value in list(mapping.items()):
        if not isinstance(name, str):
            what = f"dict with a key of type {type_name_of(name)}"
            raise FieldTypeError(_WHERE, parent or "", what, "; keys must be str")
        key = text(_WHERE, name, name) if parent is None else f"{parent}{sep}{text(_WHERE, parent, name)}"
        if not isinstance(value, Mapping):
            yield key, value
        elif not value:
            yield key, {}
        else:
            yield from _flat(value, key, sep, depth + 1)


def _merged(old: Mapping[str, Any], given: Iterable[tuple[str, Any]], sep: str) -> dict[str, Any]:
    """``old`` with the given keys; each key that a given one replaces, above or below it, is gone."""
    merged = dict(old)
    parents = {parent for key in old for parent in _above(key, sep)}
    for key, value in given:
        if key in parents:
            below = [other for other in merged if other.startswith(key + sep)]
            if below and _is_empty(value):
                continue  # merging nothing into something
            for other in below:
                del merged[other]
        for parent in _above(key, sep):
            merged.pop(parent, None)
            parents.add(parent)
        merged[key] = value
    return merged


def _above(key: str, sep: str) -> Iterator[str]:
    """Each key that ``key`` lies below: "a" and "a.b" for "a.b.c"."""
    end = key.find(sep)
    while end >= 0:
        yield key[:end]
        end = key.find(sep, end + len(sep))


def _is_empty(value: object) -> bool:
    return isinstance(value, Mapping) and not value
