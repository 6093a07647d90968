"""Where a setting comes from, which place wins, and what happens to wrong ones."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from penstock import limits
from penstock.config import SETTINGS, Config, load_config
from penstock.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with a project in it, which is the working directory; no variable of ours is set."""
    for variable in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)
    home = tmp_path / "home"
    (home / "project" / "deep").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(home / "project")
    return home


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


# -- precedence ---------------------------------------------------------------------------------------------------
def test_with_nothing_set_every_value_is_the_default() -> None:
    config = load_config()
    assert config == Config()
    assert config.ring_bytes == limits.RING_BYTES
    assert config.root == Path("penstock_runs")
    assert {config.origin(name) for name in SETTINGS} == {"default"}


def test_each_place_overrides_those_below_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = write(home / ".config/penstock/config.toml", 'workspace = "user"\n')
    assert (load_config().workspace, load_config().origin("workspace")) == ("user", str(user))
    project = write(home / "project/penstock.toml", 'workspace = "project"\n')
    assert (load_config().workspace, load_config().origin("workspace")) == ("project", str(project))
    monkeypatch.setenv("PENSTOCK_WORKSPACE", "variable")
    config = load_config()
    assert (config.workspace, config.origin("workspace")) == ("variable", "environment PENSTOCK_WORKSPACE")
    config = load_config(workspace="given")
    assert (config.workspace, config.origin("workspace")) == ("given", "argument")


def test_places_are_merged_setting_by_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".config/penstock/config.toml", 'api_key = "k"\non_full = "drop"\n')
    write(home / "project/penstock.toml", 'on_full = "raise"\nfsync = false\n')
    monkeypatch.setenv("PENSTOCK_CHUNK_BYTES", "8192")
    config = load_config(mode="local")
    assert (config.api_key, config.on_full, config.fsync, config.chunk_bytes, config.mode) == (
        "k",
        "raise",
        False,
        8192,
        "local",
    )


def test_none_as_an_argument_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_MODE", "disabled")
    assert load_config(mode=None).mode == "disabled"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RING_BYTES", " ")
    assert load_config().origin("ring_bytes") == "default"


# -- finding the files --------------------------------------------------------------------------------------------
def test_the_nearest_project_file_above_the_working_directory_is_the_only_one_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "penstock.toml", 'workspace = "far"\non_full = "drop"\n')
    monkeypatch.chdir(home / "project/deep")
    assert load_config().workspace == "far"
    near = write(home / "project/penstock.toml", 'workspace = "near"\n')
    config = load_config()
    assert (config.workspace, config.origin("workspace"), config.on_full) == ("near", str(near), "block")


def test_the_search_ends_with_the_home_folder(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "penstock.toml", 'workspace = "belongs to everybody"\n')
    assert load_config().workspace == "default"


def test_a_project_outside_the_home_folder_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "scratch/penstock.toml", 'workspace = "scratch"\n')
    (tmp_path / "scratch/a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "scratch/a/b")
    assert load_config().workspace == "scratch"


def test_a_home_folder_behind_a_symbolic_link_ends_the_search_too(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    write(tmp_path / "penstock.toml", 'workspace = "belongs to everybody"\n')
    assert load_config().workspace == "default"


def test_a_table_in_pyproject_is_a_project_file(home: Path) -> None:
    path = write(home / "project/pyproject.toml", '[project]\nname = "x"\n[tool.penstock]\non_full = "drop"\n')
    config = load_config()
    assert (config.on_full, config.origin("on_full")) == ("drop", f"{path} [tool.penstock]")


@pytest.mark.parametrize("text", ['dependencies = ["penstock"]\n', "[tool.other]\nx = 1\n", "not [ toml"])
def test_a_pyproject_without_our_table_does_not_end_the_search(home: Path, text: str) -> None:
    write(home / "penstock.toml", 'workspace = "above"\n')
    write(home / "project/pyproject.toml", text)
    assert load_config().workspace == "above"


def test_penstock_toml_wins_over_pyproject_in_the_same_folder(home: Path) -> None:
    write(home / "project/pyproject.toml", '[tool.penstock]\non_full = "drop"\n')
    write(home / "project/penstock.toml", 'on_full = "raise"\n')
    assert load_config().on_full == "raise"


def test_the_user_file_lies_in_the_xdg_folder_unless_that_is_relative(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / ".config/penstock/config.toml", 'workspace = "home"\n')
    write(tmp_path / "xdg/penstock/config.toml", 'workspace = "xdg"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert load_config().workspace == "xdg"
    monkeypatch.setenv("XDG_CONFIG_HOME", "xdg")
    assert load_config().workspace == "home"


def test_a_file_is_read_anew_when_it_changed_even_within_the_clock_of_the_file_system(home: Path) -> None:
    path = home / "project/penstock.toml"
    for number in range(20):
        write(path, f'workspace = "w{number % 10}"\n')
        assert load_config().workspace == f"w{number % 10}"


def test_a_removed_working_directory_has_no_project_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "penstock.toml", 'workspace = "above"\n')
    (home / "gone").mkdir()
    monkeypatch.chdir(home / "gone")
    (home / "gone").rmdir()
    assert load_config().workspace == "default"


# -- paths --------------------------------------------------------------------------------------------------------
def test_a_relative_path_in_a_file_starts_at_that_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "project/penstock.toml", 'root = "runs"\njournal_dir = "/fast"\n')
    monkeypatch.chdir(home / "project/deep")
    config = load_config()
    assert (config.root, config.journal_dir) == (home / "project/runs", Path("/fast"))


def test_a_relative_path_in_the_environment_or_an_argument_stays_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_ROOT", "runs")
    assert load_config().root == Path("runs")
    assert load_config(root=Path("other")).root == Path("other")


def test_a_tilde_is_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_ROOT", "~/runs")
    assert load_config().root == home / "runs"


# -- values -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "value"),
    [(text, True) for text in ("1", "true", "YES", "on")] + [(text, False) for text in ("0", "False", "no", "off")],
)
def test_a_switch_in_the_environment_has_eight_spellings(
    monkeypatch: pytest.MonkeyPatch, text: str, value: bool
) -> None:
    monkeypatch.setenv("PENSTOCK_FSYNC", text)
    assert load_config().fsync is value


def test_seconds_are_floats_wherever_they_come_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "project/penstock.toml", "exit_timeout_s = 3\n")
    monkeypatch.setenv("PENSTOCK_FLUSH_INTERVAL_S", "1")
    config = load_config(flush_timeout_s=2)
    for value in (config.exit_timeout_s, config.flush_interval_s, config.flush_timeout_s):
        assert type(value) is float


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ring_bytes", limits.RING_MIN_BYTES - 4096),
        ("ring_bytes", limits.RING_MAX_BYTES + 4096),
        ("ring_bytes", limits.RING_MIN_BYTES + 1),
        ("ring_bytes", float(limits.RING_BYTES)),
        ("ring_bytes", True),
        ("ring_bytes", "8 MiB"),
        ("flush_interval_s", 0),
        ("flush_interval_s", float("nan")),
        ("exit_timeout_s", -1),
        ("exit_timeout_s", float("inf")),
        ("exit_timeout_s", True),
        ("open_line_files", 3),
        ("fsync", 1),
        ("fsync", "maybe"),
        ("mode", "remote"),
        ("on_full", "Block"),
        ("workspace", ""),
        ("workspace", "a\nb"),
        ("workspace", 7),
        ("root", ""),
        ("root", "a\0b"),
        ("root", 5),
        ("root", b"runs"),
        ("remote", "localhost:8080"),
        ("remote", "https://"),
        ("remote", "ftp://host"),
        ("remote", "https://me:secret@host/"),
        ("api_key", ""),
        ("api_key", 12345),
    ],
)
def test_a_wrong_type_or_a_value_out_of_bounds_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' from argument") as caught:
        load_config(**{name: value})
    assert (caught.value.setting, caught.value.origin) == (name, "argument")
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.high])
def test_both_bounds_of_a_number_are_let_in(name: str) -> None:
    setting = SETTINGS[name]
    for bound in (setting.low, setting.high):
        assert getattr(load_config(**{name: bound}), name) == bound


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PENSTOCK_RING_BYTES", "8MiB"),
        ("PENSTOCK_RING_BYTES", "8388608.0"),
        ("PENSTOCK_EXIT_TIMEOUT_S", "nan"),
        ("PENSTOCK_EXIT_TIMEOUT_S", "10s"),
        ("PENSTOCK_FSYNC", "maybe"),
        ("PENSTOCK_MODE", "offline"),
    ],
)
def test_a_wrong_variable_is_named_with_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigError, match=f"from environment {variable}: '?{text}'? is refused; expected"):
        load_config()


# -- one bad value voids the whole --------------------------------------------------------------------------------
def test_a_bad_value_is_an_error_even_where_something_higher_overrides_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(home / "project/penstock.toml", 'workspace = "fine"\nring_bytes = 1\n')
    monkeypatch.setenv("PENSTOCK_RING_BYTES", str(limits.RING_BYTES))
    with pytest.raises(ConfigError) as caught:
        load_config(ring_bytes=limits.RING_BYTES)
    assert (caught.value.setting, caught.value.origin) == ("ring_bytes", str(path))


@pytest.mark.parametrize("data", [b"workspace = ", b'workspace = "\xff"\n'])
def test_a_file_that_is_not_toml_is_named(home: Path, data: bytes) -> None:
    path = home / "project/penstock.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="not valid TOML") as caught:
        load_config()
    assert caught.value.origin == str(path)


def test_a_file_that_cannot_be_read_is_an_error(home: Path) -> None:
    (home / "project/penstock.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config()


def test_an_unknown_setting_in_a_file_is_an_error_and_the_nearest_known_one_is_named(home: Path) -> None:
    write(home / "project/penstock.toml", "flush_interval = 1\n")
    with pytest.raises(ConfigError, match="did you mean 'flush_interval_s'"):
        load_config()
    write(home / "project/penstock.toml", "[server]\nport = 1\n")
    with pytest.raises(ConfigError, match=r"'server'.*the settings are root, remote"):
        load_config()


def test_a_table_of_pyproject_that_is_no_table_is_an_error(home: Path) -> None:
    write(home / "project/pyproject.toml", "[tool]\npenstock = 3\n")
    with pytest.raises(ConfigError, match="expected a table of settings, found int"):
        load_config()


def test_an_unknown_argument_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'worksapce' from argument.*did you mean 'workspace'"):
        load_config(worksapce="x")


def test_the_origin_of_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        Config().origin("colour")


# -- variables that are not ours ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("PENSTOCK_FLUSH_INTERVAL", "PENSTOCK_FLUSH_INTERVAL_S"),
        ("PENSTOCK_APIKEY", "PENSTOCK_API_KEY"),
        ("PENSTOCK_WORKSAPCE", "PENSTOCK_WORKSPACE"),
        ("PENSTOCK_root", "PENSTOCK_ROOT"),
    ],
)
def test_a_variable_that_is_nearly_one_of_ours_is_an_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=f"{variable}.*did you mean {meant}"):
        load_config()


def test_another_variable_of_our_prefix_is_warned_about_and_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_COLOUR", "blue")
    with pytest.warns(UserWarning, match="PENSTOCK_COLOUR is no setting"):
        assert load_config() == Config()


@pytest.mark.parametrize(
    "name",
    ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR", "UI_PORT_1_UDP"],
)
def test_variables_that_kubernetes_makes_are_ignored_in_silence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"PENSTOCK_{name}", "tcp://10.0.0.1:80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_config() == Config()


# -- secrets and the value itself ---------------------------------------------------------------------------------
def test_the_api_key_is_in_no_text_of_the_configuration() -> None:
    config = load_config(api_key="canary-4711")
    assert config.api_key == "canary-4711"
    assert "canary" not in f"{config!r} {config} {config.origins}"
    assert "api_key='***'" in repr(config)
    assert "api_key=None" in repr(Config())


@pytest.mark.parametrize("name", ["api_key", "remote"])
def test_a_refused_secret_is_not_in_the_message(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(**{name: "ftp://me:canary\n@host"})
    assert "canary" not in str(caught.value)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().workspace = "x"  # type: ignore[misc]
