"""What every test gets: no settings from the person who runs it, and a time limit that fits its kind."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from penstock import core
from penstock.config import NOT_SETTINGS

LONG_TIMEOUT_S = 1200.0  # of a test marked `long` that names no limit of its own

# A busy machine must not fail a test: the time limit is on the whole test, not on single examples.
settings.register_profile("penstock", deadline=None)
settings.load_profile("penstock")


# A shell starts background jobs with SIGINT and SIGQUIT ignored, nohup with SIGHUP; programs that we start would
# inherit that, and be deaf to what the tests send them.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


def pytest_report_header() -> str:
    return f"penstock core: {core}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_TIMEOUT_S))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop PENSTOCK_* and point the user's configuration folder at an empty one, for child processes too. What is no
    setting stays: PENSTOCK_CORE chooses the core that the whole run of the tests is about."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_") and name not in NOT_SETTINGS]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-configuration"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests (``@pytest.mark.anyio``) run on both event loops."""
    return str(request.param)
