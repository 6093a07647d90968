"""Which core runs: ``_ring``, compiled from _ring.cpp when penstock was installed, or the Python reference.

Decided once, when penstock is imported; both write the same bytes, so a run may be continued by the other. The
environment variable PENSTOCK_CORE chooses: "auto" (default: C where it is there), "python", or "c" (then its absence
is an error). Sub-interpreters are refused here, before anything else of penstock is imported."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any, Final

VARIABLE: Final = "PENSTOCK_CORE"


def _refuse_subinterpreters() -> None:
    for name in ("_interpreters", "_xxsubinterpreters"):  # CPython 3.13 and later; before
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError("penstock runs in the main interpreter only: sub-interpreters are not supported")
        return


def _load() -> ModuleType | None:
    wanted = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    if wanted not in {"auto", "c", "python"}:
        raise ImportError(f"environment variable {VARIABLE} is {wanted!r}; expected auto, c or python")
    if wanted == "python":
        return None
    try:
        return importlib.import_module("penstock._journal._ring")
    except ModuleNotFoundError as error:
        if wanted == "c":
            raise ImportError(
                f"{VARIABLE}=c, but the C core is not installed: it is built by pip where a C++17 compiler is found"
            ) from error
        return None
    except ImportError as error:
        raise ImportError(
            f"the C core is installed, but cannot be loaded ({error}): install penstock anew, or set {VARIABLE}=python"
        ) from error


_refuse_subinterpreters()
native: Final[Any] = _load()  # the compiled module, or None
core: Final = "python" if native is None else "c"
