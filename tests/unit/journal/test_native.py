"""Which core runs: the environment variable PENSTOCK_CORE, a core that is missing or broken, a second import, and
sub-interpreters (reliability.md section 3.3: refused with a clear error), each in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock._journal.native import native
from tests.unit.journal.cores import NEEDS_C

SOURCE = Path(penstock.__file__).parents[1]


def told(code: str, core: str | None = None) -> str:
    """What a new interpreter prints that runs ``code``; of an exception its last line."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    environment.pop("PENSTOCK_CORE", None)
    if core is not None:
        environment["PENSTOCK_CORE"] = core
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


BUILT = "c" if native is not None else told("import penstock; print(penstock.core)")


@pytest.mark.parametrize(
    ("wanted", "core"), [(None, BUILT), ("", BUILT), ("auto", BUILT), (" Python ", "python"), ("python", "python")]
)
def test_the_environment_chooses_the_core(wanted: str | None, core: str) -> None:
    code = "import penstock; print(penstock.core, penstock.Session('r', mode='disabled').open().stats().core)"
    assert told(code, wanted) == f"{core} {core}"


@NEEDS_C
def test_the_c_core_can_be_asked_for() -> None:
    assert told("import penstock; print(penstock.core)", "C") == "c"


def test_any_other_word_is_an_error_that_names_the_words() -> None:
    assert told("import penstock", "rust") == (
        "ImportError: environment variable PENSTOCK_CORE is 'rust'; expected auto, c or python"
    )


MISSING = "import sys; sys.modules['penstock._journal._ring'] = None; import penstock; print(penstock.core)"


def test_where_there_is_no_c_core_the_reference_serves() -> None:
    assert told(MISSING) == "python"
    assert told(MISSING, "c") == (
        "ImportError: PENSTOCK_CORE=c, but the C core is not installed: "
        "it is built by pip where a C++17 compiler is found"
    )


BROKEN = """
import importlib.machinery, sys
class Finder:
    def find_spec(self, name, *_rest):
        if name == "penstock._journal._ring":
            loader = importlib.machinery.ExtensionFileLoader(name, sys.executable)
            return importlib.machinery.ModuleSpec(name, loader, origin=sys.executable)
sys.meta_path.insert(0, Finder())
import penstock
"""


@pytest.mark.parametrize("wanted", [None, "c"])
def test_a_c_core_that_cannot_be_loaded_is_an_error_that_says_what_to_do(wanted: str | None) -> None:
    error = told(BROKEN, wanted)
    assert error.startswith("ImportError: the C core is installed, but cannot be loaded (")
    assert error.endswith("install penstock anew, or set PENSTOCK_CORE=python")


AGAIN = """
import sys
from penstock._journal import native as first
lane = first.native.Lane(first.native.State(0, 0, None), first.native.Counter(0), 1, len, len, len)
for name in [name for name in sys.modules if name.startswith("penstock")]:
    del sys.modules[name]
from penstock._journal import native as second
assert second.native is not first.native
assert second.native.Lane is first.native.Lane
second.native.Lane(second.native.State(0, 0, None), first.native.Counter(0), 1, len, len, len)
print("both work")
"""


@NEEDS_C
def test_a_second_import_shows_the_same_types() -> None:
    assert told(AGAIN, "c") == "both work"


INSIDE = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
if {first!r}:
    import penstock
try:
    inner = interpreters.create({kind!r})
except TypeError:
    inner = interpreters.create(isolated={kind!r} == "isolated")
interpreters.run_string(inner, '''if True:
    import sys
    sys.path[:0] = {paths!r}
    try:
        import penstock
    except ImportError as error:
        print(error, flush=True)
    else:
        print("imported", flush=True)
''')
"""


@pytest.mark.parametrize("first", [False, True], ids=["alone", "after-main"])
@pytest.mark.parametrize("kind", ["legacy", "isolated"])
@pytest.mark.parametrize("core", [BUILT, "python"])
def test_a_sub_interpreter_is_told_that_penstock_does_not_run_there(core: str, kind: str, first: bool) -> None:
    code = INSIDE.format(kind=kind, first=first, paths=[str(SOURCE), *sys.path])
    assert told(code, core) == "penstock runs in the main interpreter only: sub-interpreters are not supported"
