"""The table of settings in docs/configuration.md and the settings in the code are the same, in both directions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock.config import SETTINGS, Config, _checked, _parsed

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


class Row(NamedTuple):
    setting: str
    variable: str
    type: str
    default: str
    meaning: str


def documented() -> dict[str, Row]:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == len({row[0] for row in rows}), "a setting has two rows"
    return {row[0]: Row(*row) for row in rows}


def test_every_setting_has_a_row_and_every_row_a_setting_in_the_same_order() -> None:
    assert list(documented()) == list(SETTINGS)


def test_every_field_of_config_is_a_setting() -> None:
    assert [field for field in Config.__struct_fields__ if field != "origins"] == list(SETTINGS)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_row_tells_the_variable_the_type_and_the_default(name: str) -> None:
    row, setting = documented()[name], SETTINGS[name]
    assert row.variable == setting.variable
    assert row.type == setting.expected
    assert row.meaning.endswith(".")
    default = getattr(Config(), name)
    if row.default == "none":
        assert default is None
    else:
        told = _checked(setting, _parsed(setting, row.default.strip("`")), "documentation")
        assert told == default
        assert type(told) is type(default)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_default_is_within_its_own_bounds(name: str) -> None:
    default = getattr(Config(), name)
    assert default is None or _checked(SETTINGS[name], default, "default") == default
