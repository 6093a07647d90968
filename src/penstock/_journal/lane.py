"""A lane: the way of one track's records into the ring, and the append compiled for its usual fields.

``append(value=0.5, epoch=1)`` runs once per training step, so for the field names and types that a track is used
with, a function with exactly these parameters is compiled (once per names and types, as dataclasses do it) and bound
to the lane. It converts nothing: a call that it does not fit goes to ``otherwise``, which converts and checks. The
two ``put`` methods are the same steps, written out for any record.

Threads: as in ``ring``; from the second comparison of ``index`` to the store there is no call and no backward jump.
A record that was packed for an index that another thread took meanwhile is packed again. This module must not know
sessions, policies, or how values are converted.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from functools import lru_cache
from struct import error as StructError
from time import time_ns
from typing import Any, Final
from zlib import crc32

from penstock._journal import format as fmt
from penstock._journal.native import native
from penstock._journal.ring import Ring

MISSING: Final = type("Missing", (), {"__repr__": lambda _self: "<not given>"})()
DROPPED: Final = -1
_COMPILED_CODES: Final = {fmt.FLOAT: "_p_float", fmt.INT: "_p_int", fmt.BOOL: "_p_bool"}
# A field may be called "type" or "float": what the source uses by itself has names that no parameter has.
_BUILTINS: Final = {"_p_type": type, "_p_float": float, "_p_int": int, "_p_bool": bool}

_SOURCE: Final = """\
def bind(_p_state, _p_counter, _p_room, _p_otherwise, _p_prefix, _p_seed, _p_size, _p_pack, _p_store,
         _p_crc32, _p_now, _p_missing, _p_done, _p_struct_error):
    def append({parameters}, **_p_rest):
        if {fits} and not _p_rest:
            try:
                while True:
                    _p_index = _p_counter[0]
                    _p_body = _p_pack(_p_index, _p_now(), {values})
                    _p_check = _p_crc32(_p_body, _p_seed)
                    if _p_index == _p_counter[0]:
                        _p_offset = _p_state[0]
                        _p_end = _p_offset + _p_size
                        if _p_end <= _p_state[1]:
                            _p_counter[0] = _p_index + 1
                            _p_state[0] = _p_end
                            _p_store(_p_state[2], _p_offset, _p_prefix, _p_body, _p_check, _p_done)
                            return
                        if not _p_room(_p_size):
                            return
            except _p_struct_error:
                pass
        _p_given = {{{given}}}
        _p_otherwise({{_p_k: _p_v for _p_k, _p_v in _p_given.items() if _p_v is not _p_missing}} | _p_rest)
    return append
"""


class Lane:
    """The producer's handle of one track (or, with track 0, of the log).

    ``counter[0]`` is the next index of this lane's line file; ``first`` what it was when the lane was made.
    """

    __slots__ = ("_prefixes", "counter", "first", "name", "ring", "track")

    def __init__(self, ring: Ring, track: int, name: str, next_index: int) -> None:
        self.ring = ring
        self.track = track
        self.name = name
        self.counter: Any = [next_index] if native is None else native.Counter(next_index)
        self.first = next_index
        self._prefixes: dict[int, tuple[bytes, int]] = {}

    @property
    def accepted(self) -> int:
        """Records that this lane has put into the ring."""
        accepted: int = self.counter[0] - self.first
        return accepted

    def restart(self) -> None:
        """In a forked child: indices begin anew, in the child's own line file."""
        self.counter[0] = self.first = 0

    def put_numbers(self, layout: fmt.Layout, values: tuple[Any, ...], at_ns: int) -> int:
        """Put one point whose values fit ``layout``. Returns its index, or DROPPED. Raises what ``room`` raises."""
        if None in values:
            values = tuple([0 if value is None else value for value in values])  # its type code says what it is
        key = layout.names << 64 | layout.types
        known = self._prefixes.get(key)
        if known is None:
            prefix = layout.prefix(self.track)
            known = self._prefixes[key] = (prefix, crc32(prefix))
        prefix, seed = known
        pack, store, size, done = layout.body.pack, layout.store.pack_into, layout.size, fmt.DONE
        counter, state = self.counter, self.ring.state
        while True:
            index: int = counter[0]
            body = pack(index, at_ns, *values)
            check = crc32(body, seed)
            if index == counter[0]:
                offset = state[0]
                end = offset + size
                if end <= state[1]:
                    counter[0] = index + 1
                    state[0] = end
                    store(state[2], offset, prefix, body, check, done)
                    return index
                if not self.ring.room(size):
                    return DROPPED

    def put_payload(self, kind: int, payload: bytes, at_ns: int) -> int:
        """Put one general point or log line. Returns its index, or DROPPED. Raises what ``room`` raises."""
        size = fmt.payload_record_bytes(payload)
        store = fmt.store_of(size)
        counter, state = self.counter, self.ring.state
        while True:
            index: int = counter[0]
            record = fmt.pack_payload_record(kind, self.track, index, at_ns, payload)
            if index == counter[0]:
                offset = state[0]
                end = offset + size
                if end <= state[1]:
                    counter[0] = index + 1
                    state[0] = end
                    store(state[2], offset, record)
                    return index
                if not self.ring.room(size):
                    return DROPPED

    def native(
        self, names_of: Callable[[tuple[str, ...]], int], otherwise: Callable[[dict[str, Any]], object]
    ) -> Callable[..., None] | None:
        """The C core's append: for any fields, it calls ``otherwise`` for all but numbers, bools and None. None without
        the core."""
        if native is None:
            return None
        append: Callable[..., None] = native.Lane(
            self.ring.state, self.counter, self.track, self.ring.room, names_of, otherwise
        ).append
        return append

    def compiled(self, layout: fmt.Layout, names: tuple[str, ...], codes: tuple[int, ...],
                 otherwise: Callable[[dict[str, Any]], object]) -> Callable[..., None] | None:  # fmt: skip
        """An append for exactly these names and types, or None where no such function can be written."""
        bind = _compile(names, codes)
        if bind is None:
            return None
        prefix = layout.prefix(self.track)
        append: Callable[..., None] = bind(
            self.ring.state, self.counter, self.ring.room, otherwise, prefix, crc32(prefix), layout.size,
            layout.body.pack, layout.store.pack_into, crc32, time_ns, MISSING, fmt.DONE, StructError,
        )  # fmt: skip
        return append


@lru_cache(maxsize=256)
def _compile(names: tuple[str, ...], codes: tuple[int, ...]) -> Callable[..., Any] | None:
    if not all(code in _COMPILED_CODES for code in codes):
        return None
    if not all(_is_parameter(name) for name in names):
        return None
    ordered = ["value", *(name for name in names if name != "value")]  # append(0.5, step=1) is value=0.5
    parameters = [f"{ordered[0]}=_p_missing", "*", *(f"{name}=_p_missing" for name in ordered[1:])]
    if len(ordered) == 1:
        parameters = parameters[:1]
    fits = [f"_p_type({name}) is {_COMPILED_CODES[code]}" for name, code in zip(names, codes, strict=True)]
    if "value" not in names:
        fits.append("value is _p_missing")
    source = _SOURCE.format(
        parameters=", ".join(parameters),
        fits=" and ".join(fits),
        values=", ".join(names),
        given=", ".join(f"{name!r}: {name}" for name in ordered),
    )
    space: dict[str, Any] = dict(_BUILTINS)
    exec(compile(source, "<penstock append>", "exec"), space)  # only names that passed _is_parameter are in it
    bind: Callable[..., Any] = space["bind"]
    return bind


def _is_parameter(name: str) -> bool:
    """Whether ``name`` may stand in the source. ASCII only: the parser would normalise other identifiers (NFKC)."""
    refused = keyword.iskeyword(name) or name == "__debug__"
    return name.isascii() and name.isidentifier() and not refused and not name.startswith("_p_")
