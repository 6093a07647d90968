"""Reliability cases 19, 23 and 62, the part that no stress test can prove: the steps that must not be divided.

CPython with a GIL lets other threads and signal handlers in only where the evaluation loop looks at its "eval
breaker": after calls, at RESUME and at backward jumps. CPython 3.11 moreover collects garbage, and so runs
``__del__``, when an object that the collector tracks is made (a tuple, a slice, a bound method). The tests read the
bytecode of each indivisible step and hold that between its first and last instruction there is nothing but what is on
a short list of harmless instructions.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Callable
from typing import Any

import pytest

from penstock._journal import lane
from penstock._journal.file import JournalFile
from penstock._journal.lane import Lane
from penstock._journal.ring import Ring

# Instructions that run no Python code and make no object that the garbage collector tracks. The operands here are ints,
# lists, bytes, memory maps and plain attributes; the last is checked below.
HARMLESS = frozenset(
    """
    LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_LOAD_FAST LOAD_FAST_BORROW LOAD_FAST_BORROW_LOAD_FAST_BORROW LOAD_CONST
    LOAD_SMALL_INT LOAD_DEREF LOAD_GLOBAL LOAD_ATTR STORE_FAST STORE_FAST_LOAD_FAST STORE_FAST_STORE_FAST STORE_ATTR

    STORE_SUBSCR BINARY_SUBSCR BINARY_OP COMPARE_OP IS_OP UNARY_NOT TO_BOOL COPY SWAP POP_TOP PUSH_NULL NOP NOT_TAKEN CACHE
    EXTENDED_ARG PRECALL KW_NAMES
""".split()  # noqa: E501
)
FORWARD_JUMPS = frozenset(
    """
    JUMP_FORWARD POP_JUMP_IF_TRUE POP_JUMP_IF_FALSE POP_JUMP_FORWARD_IF_TRUE POP_JUMP_FORWARD_IF_FALSE
""".split()
)
RETURNS = frozenset({"RETURN_VALUE", "RETURN_CONST"})


class DividedError(AssertionError):
    pass


def instructions(function: Any) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(function) if step.opname != "CACHE"]


def is_call(step: dis.Instruction) -> bool:
    return step.opname.startswith("CALL")


def hold(section: list[dis.Instruction], *, also: frozenset[str] = frozenset(), owner: type | None = None) -> None:
    """Raise DividedError when an instruction in ``section`` may let other code in."""
    for step in section:
        if step.opname not in HARMLESS | FORWARD_JUMPS | also:
            raise DividedError(f"{step.opname} {step.argrepr} at {step.offset} may let other code in")
        if step.opname == "LOAD_ATTR" and owner is not None:
            found = inspect.getattr_static(owner, str(step.argval), None)
            if found is not None and not isinstance(found, types.MemberDescriptorType):
                raise DividedError(f"{owner.__name__}.{step.argval} is no plain attribute: reading it may run code")


def section_of_put(function: Any, store: str) -> list[dis.Instruction]:
    """From the second look at the track's index to the call that stores the record; the call itself is left out."""
    steps = instructions(function)
    (start,) = [place for place, step in enumerate(steps) if step.opname == "COMPARE_OP" and "==" in step.argrepr]
    end = next((place for place in range(start, len(steps)) if is_call(steps[place])), None)
    if end is None:
        raise DividedError("nothing is stored by a call")
    section = steps[start - 1 : end]
    stores = [place for place, step in enumerate(section) if step.opname == "STORE_SUBSCR"]
    if len(stores) != 2 or section[stores[0]].offset > section[stores[1]].offset:
        raise DividedError("index and offset must both be taken before the first call")
    if not any(step.argval == store or store in str(step.argval) for step in section[stores[1] :]):
        raise DividedError(f"the first call after the index is taken must be the one of {store}")
    if any(step.opname in FORWARD_JUMPS for step in section[stores[0] :]):
        raise DividedError("once the index is taken there is no way but to store")
    return section


def body(function: Any) -> list[dis.Instruction]:
    """Everything behind RESUME, where a thread may still be switched: nothing is read by then."""
    steps = instructions(function)
    start = next(place for place, step in enumerate(steps) if step.opname == "RESUME")
    return [step for step in steps[start + 1 :] if step.opname not in RETURNS]


def after_last_call(function: Any) -> list[dis.Instruction]:
    steps = body(function)
    last = max((place for place, step in enumerate(steps) if is_call(step)), default=-1)
    return steps[last + 1 :]


def compiled_append(names: tuple[str, ...], codes: tuple[int, ...]) -> Any:
    bind = lane._compile(names, codes)
    assert bind is not None
    return bind(*[None] * len(inspect.signature(bind).parameters))


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        (("value",), (1,)),
        (("value", "step"), (1, 2)),
        (("step", "value", "done"), (2, 1, 3)),
        (("a", "b"), (1, 1)),
        (tuple(f"f{place}" for place in range(16)), (1,) * 16),
        (("type", "float"), (1, 1)),
    ],
)
def test_the_compiled_append_takes_index_and_place_and_stores_in_one_step(
    names: tuple[str, ...], codes: tuple[int, ...]
) -> None:
    hold(section_of_put(compiled_append(names, codes), "_p_store"))


def test_put_numbers_takes_index_and_place_and_stores_in_one_step() -> None:
    hold(section_of_put(Lane.put_numbers, "store"), owner=Lane)


def test_put_payload_takes_index_and_place_and_stores_in_one_step() -> None:
    hold(section_of_put(Lane.put_payload, "store"), owner=Lane)


@pytest.mark.parametrize("function", [Ring.extend, Ring.stop, Ring._move_tail])
def test_the_limits_of_the_ring_move_in_one_step(function: Callable[..., Any]) -> None:
    section = body(function)
    assert not [step for step in section if is_call(step)]
    hold(section, owner=Ring)


def test_tail_and_head_are_each_read_in_one_step() -> None:
    steps = body(Ring.window)
    end = next(place for place, step in enumerate(steps) if is_call(step))
    # A tuple is made only after both of its parts are read, and the tail is read before the head: the window may be
    # wider
    # than the truth, never torn.
    hold(steps[:end], also=frozenset({"BUILD_TUPLE"}), owner=Ring)
    names = [str(step.argval) for step in steps[:end] if step.opname == "LOAD_ATTR"]
    assert names == ["tail_lap", "tail_offset", "lap", "state"]
    pairs = [place for place, step in enumerate(steps[:end]) if step.opname == "BUILD_TUPLE"]
    assert len(pairs) == 2
    hold(steps[pairs[0] + 1 : pairs[1]], owner=Ring)


def test_the_ring_moves_to_another_journal_in_one_step() -> None:
    section = after_last_call(Ring.rebase)
    assert [step.opname for step in section].count("STORE_SUBSCR") == 2, "the bytes, then the mapping"
    hold(section, owner=Ring)


def test_a_definition_takes_its_place_and_is_stored_in_one_step() -> None:
    steps = body(JournalFile._define)
    start = next(place for place, step in enumerate(steps) if step.opname == "LOAD_ATTR" and step.argval == "_defined")
    end = next(place for place in range(start, len(steps)) if is_call(steps[place]))
    section = steps[start:end]
    assert any(step.opname == "STORE_ATTR" and step.argval == "_defined" for step in section)
    assert any("store" in str(step.argval) for step in section)
    hold(section, owner=JournalFile)


# -- the check refuses what it is there to refuse --------------------------------------------------------------------


def _with_a_call(counter: list[int], state: list[Any], store: Any) -> None:
    index = counter[0]
    if index == counter[0]:
        end = max(state[0], 8)
        counter[0] = index + 1
        state[0] = end
        store(state[2], end)


def _with_a_call_between(counter: list[int], state: list[Any], store: Any, room: Any) -> None:
    index = counter[0]
    if index == counter[0]:
        counter[0] = index + 1
        room()
        state[0] = index
        store(state[2], index)


def _with_a_slice(counter: list[int], state: list[Any], record: bytes, store: Any) -> None:
    index = counter[0]
    if index == counter[0]:
        counter[0] = index + 1
        state[0] = index
        state[2][index:8] = record
        store(state)


def _with_a_loop(counter: list[int], state: list[Any], store: Any) -> None:
    index = counter[0]
    if index == counter[0]:
        counter[0] = index + 1
        for place in counter:
            state[0] = place
        store(state)


def _with_a_way_out(counter: list[int], state: list[Any], store: Any) -> None:
    index = counter[0]
    if index == counter[0]:
        counter[0] = index + 1
        if state[1]:
            state[0] = index
            store(state)


@pytest.mark.parametrize("function", [_with_a_call, _with_a_call_between, _with_a_slice, _with_a_loop, _with_a_way_out])
def test_the_check_refuses_a_step_that_can_be_divided(function: Callable[..., Any]) -> None:
    with pytest.raises(DividedError):
        hold(section_of_put(function, "store"))


def test_the_check_refuses_an_attribute_that_runs_code() -> None:
    class Calm:
        @property
        def state(self) -> int:
            return 1

        def read(self) -> int:
            return self.state

    with pytest.raises(DividedError, match="plain attribute"):
        hold(body(Calm.read), owner=Calm)


def test_the_check_refuses_a_loop() -> None:
    def turning(state: list[int]) -> None:
        while state[0]:
            state[0] = state[0] - 1

    with pytest.raises(DividedError):
        hold(body(turning))
