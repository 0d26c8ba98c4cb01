"""Merge YAML files, the environment and the command line into one flat `Settings`.

Later layers win: shipped YAML < profile < configs/local.yaml < environment < command line. Every value is checked against the
schema where it comes in, and every problem is an error that names its source; none is dropped in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from core.config.options import SCHEMA
from core.config.schema import conflict
from core.config.typed_settings import Sections
from core.errors import ConfigFileError, InputError, SecretShownError, UnknownOptionError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SHIPPED_FILES = ("config.yaml", "advanced_config.yaml", "ui_config.yaml", "service_config.yaml")
ENVIRONMENT_PREFIX = "ZDARKROOM_"
MAX_YAML_BYTES = 64_000  # of a file or a paste
MAX_YAML_NODES = 4000  # 2,000 keys and their values
PROFILE_KEY = "profile"  # may stand in local.yaml, in ZDARKROOM_PROFILE and after --profile
TOKEN_VARIABLE = "ZDARKROOM_TOKEN"  # for `generate --server`: another studio's, and no setting of this one
HOME_VARIABLE = "ZDARKROOM_HOME"  # the folder of the user's files, and no setting
COMMAND_LINE = "command line"


def data_folder() -> Path:
    """Return the folder that relative paths of the user's files start from: ZDARKROOM_HOME, else the project's own."""
    return Path(os.environ.get(HOME_VARIABLE) or PROJECT_ROOT)


def local_file(configs: Path) -> Path:
    """Return the file of the user's own settings: beside the shipped ones, but for those of a project elsewhere."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home) / "local.yaml" if home and configs == PROJECT_ROOT / "configs" else configs / "local.yaml"


@dataclass(frozen=True)
class Settings(Sections):
    """Checked values by schema key, the source of each, and the problems found.

    A value with a problem is replaced by the layer below it, so that the app always starts in a safe state and can show why.
    Read a value as `settings.server.port`; `settings[key]` is for keys that are known at run time only.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    problems: tuple[InputError, ...] = ()
    configs: Path = field(default=PROJECT_ROOT / "configs")

    def __getitem__(self, key: str) -> Any:
        return self.values[SCHEMA.current_key(key)]

    def request_options(self) -> dict[str, Any]:
        """Return the values that travel with a request, by key."""
        return {option.key: self.values[option.key] for option in SCHEMA.request_options()}

    @property
    def output_directory(self) -> Path:
        """Return the absolute path; a relative value lies in the data folder."""
        return (data_folder() / str(self.values["output.directory"])).resolve()

    def raise_problems(self) -> None:
        """Raise the first problem, if any."""
        if self.problems:
            raise self.problems[0]


@dataclass(frozen=True)
class _Layer:
    source: str
    values: Mapping[str, Any]  # as written: keys or aliases, dotted


def load_settings(
    configs: Path = PROJECT_ROOT / "configs",
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    profile: str | None = None,
) -> Settings:
    """Merge all layers. `overrides` are the command line's, by key or alias; `profile` replaces the configured one."""
    problems: list[InputError] = []
    shipped = [_file_layer(configs / name, problems) for name in SHIPPED_FILES]
    local = _file_layer(local_file(configs), problems)
    variables = _environment_layer(environment or {})
    command_line = _Layer(COMMAND_LINE, overrides or {})
    name = profile or _profile_of(command_line) or _profile_of(variables) or _profile_of(local)
    layers = [*shipped, *_profile_layers(configs, name, problems), local, variables, command_line]
    return _merge(layers, problems, configs)


def _merge(layers: Iterable[_Layer], problems: list[InputError], configs: Path) -> Settings:
    values: dict[str, Any] = SCHEMA.defaults()
    origins = dict.fromkeys(values, "default")
    for layer in layers:
        names: dict[str, str] = {}  # of the options that this layer has set: what it calls them
        for key, value in layer.values.items():
            if key == PROFILE_KEY:
                continue
            try:
                option = SCHEMA.find(key, layer.source)
                if option.secret and layer.source == COMMAND_LINE:
                    raise SecretShownError(key=option.key, variable=variable_of(option.key))
                checked = option.check(value, layer.source)
                if option.key in names and values[option.key] != checked:
                    raise conflict(layer.source, option, names[option.key], key, values[option.key], checked)
                values[option.key] = checked
                origins[option.key] = layer.source
                names[option.key] = key
            except InputError as problem:
                problems.append(problem)
    return Settings(values=values, origins=origins, problems=tuple(problems), configs=configs)


def _file_layer(path: Path, problems: list[InputError]) -> _Layer:
    """Return the values of one YAML file; a missing file has none, a broken one is a problem."""
    source = f"{path.parent.name}/{path.name}"
    if not path.exists():
        return _Layer(source, {})
    try:
        return _Layer(source, parse_yaml(path.read_text(encoding="utf-8"), source, aliases=True))
    except UnicodeDecodeError as error:
        problems.append(ConfigFileError(source=source, detail=f"it is not UTF-8 ({error.reason})"))
    except OSError as error:
        problems.append(ConfigFileError(source=source, detail=error.strerror or "it cannot be opened"))
    except InputError as problem:
        problems.append(problem)
    return _Layer(source, {})


def profile_names(configs: Path) -> list[str]:
    """Return the names of the profiles, sorted."""
    return sorted(path.stem for path in (configs / "profiles").glob("*.yaml"))


def profile_values(configs: Path, name: str, source: str) -> dict[str, Any]:
    """Return the values of a profile, by key and checked. Raises InputError naming `source` if it does not exist."""
    problems: list[InputError] = []
    settings = _merge(_profile_layers(configs, name, problems, source), problems, configs)
    settings.raise_problems()
    return {key: value for key, value in settings.values.items() if settings.origins[key] != "default"}


def _profile_layers(
    configs: Path, name: str | None, problems: list[InputError], source: str = "profile"
) -> list[_Layer]:
    if not name:
        return []
    known = profile_names(configs)
    if name not in known:
        problems.append(UnknownOptionError(source=source, key=name, nearest=", ".join(known) or "none"))
        return []
    return [_file_layer(configs / "profiles" / f"{name}.yaml", problems)]


def _profile_of(layer: _Layer) -> str | None:
    value = layer.values.get(PROFILE_KEY)
    return str(value) if value else None


def _environment_layer(environment: Mapping[str, str]) -> _Layer:
    """ZDARKROOM_VAE__TILE_SAMPLE_MIN_SIZE=256 sets vae.tile_sample_min_size. Each option reads its own type from the text."""
    values = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "."): text
        for name, text in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in (TOKEN_VARIABLE, HOME_VARIABLE)
    }
    return _Layer("environment", values)


def variable_of(key: str) -> str:
    """Return the environment variable that sets an option."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


def parse_yaml(text: str, source: str, aliases: bool = False) -> dict[str, Any]:
    """Return dotted keys and values of a YAML mapping. Raises ConfigFileError with line and reason."""
    try:
        data = load_yaml(text, aliases)
        if data is None:
            return {}
        if not isinstance(data, dict):
            raise ConfigFileError(source=source, detail=f"it holds {type(data).__name__}, not key: value lines")
        return dict(_flatten(data))
    except yaml.YAMLError as error:
        raise ConfigFileError(source=source, detail=_where(error)) from None
    except RecursionError:
        raise ConfigFileError(source=source, detail="it is nested too deeply") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # PyYAML's own, for dates such as 2026-13-45
        raise ConfigFileError(source=source, detail=f"a value makes no sense ({error})") from None


@lru_cache(maxsize=32)
def load_yaml(text: str, aliases: bool = False) -> Any:
    """Return what YAML holds, for reading only: at most 64 KB and 2,000 keys. Only files of one's own may have aliases.

    The shipped files are read again with each change of the settings, hence the cache. Raises yaml.YAMLError.
    """
    if len(text) > MAX_YAML_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_YAML_BYTES:
        raise yaml.YAMLError(f"it is larger than {MAX_YAML_BYTES // 1000} KB")
    return yaml.load(text, Loader=_OwnLoader if aliases else _StrictLoader)


class _StrictLoader(yaml.SafeLoader):
    """A key that is written twice is a mistake: the first of the two would be dropped in silence.

    Aliases expand without end in a few bytes, so there are none.
    """

    nodes = 0

    aliases = False

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if not self.aliases and self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(problem="aliases (*name) are not read", problem_mark=mark)
        self.nodes += 1
        if self.nodes > MAX_YAML_NODES:
            raise yaml.composer.ComposerError(
                problem=f"more than {MAX_YAML_NODES // 2} keys and values", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} is there twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class _OwnLoader(_StrictLoader):
    """For files in configs/: whoever can write them may use aliases."""

    aliases = True


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error)
    problem = re.sub(
        r"(alias) '.*'|(tag) '!.*'", r"\1\2", problem
    )  # a token that begins with * or ! would be quoted there
    hint = "; indent with spaces, not with a tab" if "\\t" in problem else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}{hint}" if mark else problem


def _flatten(data: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


class _Dumper(yaml.SafeDumper):
    """Quotes the line ends that are not newlines: unquoted, PyYAML writes them and reads back something else."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if any(end in text for end in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def to_yaml(values: Mapping[str, Any]) -> str:
    """Return nested YAML of dotted keys, in the given order, as the page shows and accepts it."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        parts = key.split(".")
        *branches, leaf = [key] if any(".".join(parts[:end]) in values for end in range(1, len(parts))) else parts
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = list(value) if isinstance(value, tuple) else value
    return yaml.dump(tree, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
