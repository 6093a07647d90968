"""The settings of penstock: what can be set, by whom, within which bounds, and where a value came from.

Runs on the thread that makes a session, once per session; nothing is read at import and nothing is kept but
parsed files, which are compared byte by byte before they are used again. Invariants: a :class:`Config` never
changes; it is complete and within bounds or ConfigError is raised (one bad value voids the whole, there is no
partial configuration); the API key is in no message and no repr. Precedence: argument > environment > project
file > user file > default. Must not know what the settings do, nor import anything above limits and errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from penstock import limits
from penstock.errors import ConfigError

Mode: TypeAlias = Literal["auto", "local", "disabled"]
OnFull: TypeAlias = Literal["block", "drop", "raise"]
Kind: TypeAlias = Literal["text", "secret", "url", "path", "choice", "integer", "seconds", "switch"]
Layer: TypeAlias = Iterable[tuple[str, Any, str]]  # name of the setting, checked value, origin

PREFIX: Final = "PENSTOCK_"
PROJECT_FILE: Final = "penstock.toml"
NOT_SETTINGS: Final = frozenset({"PENSTOCK_CORE"})  # read when penstock is imported: see _journal/native.py
TRUE_TEXTS: Final = frozenset({"1", "true", "yes", "on"})
FALSE_TEXTS: Final = frozenset({"0", "false", "no", "off"})
_CLOSE: Final = 0.75  # difflib's ratio: FLUSH_INTERVAL is close to FLUSH_INTERVAL_S, SERVER to nothing
_KEPT_FILES: Final = 16  # parsed files that are kept; a process meets one or two


class Setting(NamedTuple):
    """One row of docs/configuration.md: the name, the kind of value, and its bounds (inclusive)."""

    name: str
    kind: Kind
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: int = 1

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def expected(self) -> str:
        """The values that are let in, as the documentation and the messages say it."""
        if self.kind == "choice":
            return " or ".join(self.choices)
        if self.kind == "integer":
            multiple = f", multiple of {self.step}" if self.step > 1 else ""
            return f"integer, {self.low} to {self.high}{multiple}"
        if self.kind == "seconds":
            return f"seconds, {self.low:g} to {self.high:g}"
        return {"switch": "true or false", "url": "http:// or https:// address"}.get(self.kind, "text")


SETTINGS: Final[Mapping[str, Setting]] = {
    setting.name: setting
    for setting in (
        Setting("root", "path"),
        Setting("remote", "url"),
        Setting("api_key", "secret"),
        Setting("workspace", "text"),
        Setting("mode", "choice", ("auto", "local", "disabled")),
        Setting("on_full", "choice", ("block", "drop", "raise")),
        Setting("ring_bytes", "integer", (), limits.RING_MIN_BYTES, limits.RING_MAX_BYTES, 4096),  # whole pages
        Setting("flush_interval_s", "seconds", (), 0.01, 60),  # below: a busy loop; above: readers wait minutes
        Setting("sync_interval_s", "seconds", (), 0.01, 3600),
        Setting("exit_timeout_s", "seconds", (), 0, 3600),
        Setting("flush_timeout_s", "seconds", (), 0, 86_400),
        Setting("open_line_files", "integer", (), 4, 65_536),  # above: over every common hard limit of a process
        Setting("chunk_bytes", "integer", (), 4096, limits.PENDING_BYTES),  # from a block of the disk up
        Setting("journal_dir", "path"),
        Setting("fsync", "switch"),
        Setting("capture_environment", "switch"),
    )
}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one session, complete and checked; docs/configuration.md says what each one means.

    Made by :func:`load_config`. ``root`` and ``journal_dir`` are paths (``journal_dir=None``: beside the run),
    names ending in ``_s`` are seconds, in ``_bytes`` bytes.
    """

    root: Path = Path("penstock_runs")
    remote: str | None = None
    api_key: str | None = None
    workspace: str = "default"
    mode: Mode = "auto"
    on_full: OnFull = "block"
    ring_bytes: int = limits.RING_BYTES
    flush_interval_s: float = limits.FLUSH_INTERVAL_S
    sync_interval_s: float = limits.SYNC_INTERVAL_S
    exit_timeout_s: float = limits.EXIT_TIMEOUT_S
    flush_timeout_s: float = limits.FLUSH_TIMEOUT_S
    open_line_files: int = limits.OPEN_LINE_FILES
    chunk_bytes: int = limits.CHUNK_BYTES
    journal_dir: Path | None = None
    fsync: bool = True
    capture_environment: bool = True
    origins: tuple[tuple[str, str], ...] = ()

    def origin(self, setting: str) -> str:
        """Where a setting's value came from: "argument", "environment PENSTOCK_X", a file, or "default"."""
        if setting not in SETTINGS:
            raise _unknown(setting, "Config.origin()")
        return dict(self.origins).get(setting, "default")

    def __repr__(self) -> str:
        shown = ((name, "***" if name == "api_key" and self.api_key else getattr(self, name)) for name in SETTINGS)
        return f"Config({', '.join(f'{name}={value!r}' for name, value in shown)})"

    __str__ = __repr__


def load_config(**overrides: object) -> Config:
    """The configuration for a session made now, here: arguments > environment > project file > user file > default.

    ``overrides`` are settings by name; None means "not given". The environment, the working directory and the
    files are looked at anew in each call. Raises :class:`~penstock.errors.ConfigError`, which names the setting
    and where it was set, for an unknown name, a wrong type, a value out of bounds or a file that is not TOML.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in (_user_file(), _project_file(), _environment(), _arguments(overrides)):
        for name, value, origin in layer:
            values[name] = value
            origins[name] = origin
    return Config(**values, origins=tuple(origins.items()))


# -- the four layers ---------------------------------------------------------------------------------------------
def _arguments(overrides: Mapping[str, object]) -> Layer:
    for name, value in overrides.items():
        if name not in SETTINGS:
            raise _unknown(name, "argument")
        if value is not None:
            yield name, _checked(SETTINGS[name], value, "argument"), "argument"


def _environment() -> Layer:
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        text = os.environ.get(variable, "")
        origin = f"environment {variable}"
        setting = SETTINGS.get(variable[len(PREFIX) :].lower())
        if setting is None or setting.variable != variable:
            _refuse_or_warn(variable, origin)
        elif text.strip():  # an empty variable is one that is not set, as in most shells and CI systems
            yield setting.name, _checked(setting, _parsed(setting, text.strip()), origin), origin


def _project_file() -> Layer:
    for folder in _folders_upward():
        path = os.path.join(folder, PROJECT_FILE)
        table = _read_toml(path)
        if table is not None:
            return _file_layer(table, path, folder)
        path = os.path.join(folder, "pyproject.toml")
        tools = (_read_toml(path, mentions=b"penstock") or {}).get("tool")
        if isinstance(tools, dict) and "penstock" in tools:
            return _file_layer(tools["penstock"], f"{path} [tool.penstock]", folder)
    return ()


def _user_file() -> Layer:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        base = os.path.join(os.path.expanduser("~"), ".config")
    folder = os.path.join(base, "penstock")
    path = os.path.join(folder, "config.toml")
    table = _read_toml(path) if os.path.isabs(path) else None
    return _file_layer(table, path, folder) if table is not None else ()


def _file_layer(table: object, origin: str, folder: str) -> Layer:
    if not isinstance(table, dict):
        raise ConfigError("*", origin, f"expected a table of settings, found {type(table).__name__}")
    for name, value in table.items():
        if name not in SETTINGS:
            raise _unknown(name, origin)
        yield name, _checked(SETTINGS[name], value, origin, folder), origin


# -- files -------------------------------------------------------------------------------------------------------
def _folders_upward() -> Iterator[str]:
    """The working directory and its parents; the home folder is the last, its parent belongs to everybody."""
    try:
        folder = os.getcwd()
    except OSError:  # the working directory was removed under us: then there is no project
        return
    home = os.path.realpath(os.path.expanduser("~"))
    while True:
        yield folder
        parent = os.path.dirname(folder)
        if folder in (parent, home):  # a root is its own parent
            return
        folder = parent


_parsed_files: dict[str, tuple[bytes, dict[str, Any]]] = {}  # any thread; a lost race only parses once more


def _read_toml(path: str, mentions: bytes = b"") -> dict[str, Any] | None:
    """The file's top table; None when there is no such file, or it nowhere says ``mentions``."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        if not os.path.exists(path):
            return None
        raise ConfigError("*", path, f"the file cannot be read ({error.strerror})") from error
    if mentions not in data:  # most projects' pyproject.toml: parsing it would cost a millisecond or more
        return None
    kept = _parsed_files.get(path)
    if kept is not None and kept[0] == data:
        return kept[1]
    import tomllib

    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("*", path, f"the file is not valid TOML ({error}); mend or remove it") from error
    if len(_parsed_files) >= _KEPT_FILES:
        _parsed_files.clear()
    _parsed_files[path] = (data, table)
    return table


# -- one value ---------------------------------------------------------------------------------------------------
def _parsed(setting: Setting, text: str) -> object:
    """The value that a text of the environment stands for; the text itself when it stands for none."""
    if setting.kind == "switch":
        word = text.lower()
        return True if word in TRUE_TEXTS else False if word in FALSE_TEXTS else text
    if setting.kind in ("integer", "seconds"):
        try:
            return int(text) if setting.kind == "integer" else float(text)
        except ValueError:
            return text
    return text


def _checked(setting: Setting, value: object, origin: str, folder: str = "") -> Any:
    """The value in the type of its field of Config; ``folder`` is what a file's relative paths start from."""
    checked: Any = value
    if setting.kind == "switch":
        good = isinstance(value, bool)
    elif setting.kind in ("integer", "seconds"):
        types = (int,) if setting.kind == "integer" else (int, float)
        good = isinstance(value, types) and not isinstance(value, bool) and setting.low <= value <= setting.high
        good = good and (setting.step == 1 or checked % setting.step == 0)
        checked = float(checked) if good and setting.kind == "seconds" else value
    elif setting.kind == "path":
        checked = os.fspath(value) if isinstance(value, os.PathLike) else value
        good = isinstance(checked, str) and checked != "" and "\0" not in checked
        checked = Path(folder, os.path.expanduser(checked)) if good else value
    else:
        good = isinstance(value, str) and _text_is_good(setting, value)
    if not good:
        shown = "the value (not shown)" if setting.kind in ("secret", "url") else repr(value)
        raise ConfigError(setting.name, origin, f"{shown} is refused; expected {_wanted(setting)}")
    return checked


def _text_is_good(setting: Setting, text: str) -> bool:
    if setting.kind == "choice":
        return text in setting.choices
    if setting.kind == "url":  # a password in an address ends up in logs and tracebacks
        scheme, _, rest = text.partition("://")
        return scheme in ("http", "https") and rest.strip("/") != "" and "@" not in rest.partition("/")[0]
    return text != "" and text.isprintable()


def _wanted(setting: Setting) -> str:
    return setting.expected + {
        "url": " without a user or password in it (the key is the setting 'api_key')",
        "path": " that names a folder",
        "text": ", not empty",
        "secret": ", not empty, of printable characters",
    }.get(setting.kind, "")


# -- names that are not ours -------------------------------------------------------------------------------------
def _similar(name: str) -> str | None:
    import difflib

    close = difflib.get_close_matches(name.lower(), SETTINGS, n=1, cutoff=_CLOSE)
    return close[0] if close else None


def _unknown(name: str, origin: str) -> ConfigError:
    close = _similar(name)
    hint = f"did you mean {close!r}?" if close else f"the settings are {', '.join(SETTINGS)}"
    return ConfigError(name, origin, f"there is no such setting; {hint}")


def _refuse_or_warn(variable: str, origin: str) -> None:
    """A likely slip is an error; anything else with our prefix is said once, and goes on."""
    import re
    import warnings

    # Kubernetes puts such variables into every container beside a service that is called penstock or penstock-x.
    if re.fullmatch(PREFIX + r"(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)", variable):
        return
    if variable in NOT_SETTINGS:
        return
    close = _similar(variable[len(PREFIX) :])
    if close is not None:
        raise ConfigError(variable, origin, f"there is no such variable; did you mean {SETTINGS[close].variable}?")
    warnings.warn(f"environment variable {variable} is no setting of penstock and is ignored", stacklevel=4)
