"""Which core runs: ``_ring``, compiled from _ring.cpp when penstock was installed, or the Python reference.

Decided once, when penstock is imported; both write the same bytes, so a run may be continued by the other. The
environment variable PENSTOCK_CORE chooses: "auto" (default: C where it is there), "python", or "c" (then its absence
is an error)."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any, Final

VARIABLE: Final = "PENSTOCK_CORE"


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


native: Final[Any] = _load()  # the compiled module, or None
core: Final = "python" if native is None else "c"
