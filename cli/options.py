"""Options made from the fields of settings dataclasses, help in groups, and the strict `--config` file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from em_hf.settings import GROUPS, REQUIRED, Setting, did_you_mean, settings_of, shown

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH", dict: "JSON"}
MAX_CONFIG_BYTES = 1_000_000
WIDTH = 110  # of help texts


class SettingType(click.ParamType):
    """The type of an option that a setting describes: words become its values, everything else is one line."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.name = setting.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return read_value(self.setting, value)
        except ValueError as error:
            raise click.UsageError(f"{self.setting.option} is {_word(value)}, but {error}", ctx) from error

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        one = self.setting
        if one.metavar:
            return one.metavar
        if one.choices and not one.many:
            words = f"[{'|'.join(one.choices)}]".replace("_", "-")
            return words if len(words) <= 40 else "NAME"
        if one.exists:
            return one.exists.upper()
        return "A,B,…" if one.many else METAVARS.get(one.kind, "TEXT")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if self.setting.choices:
            words = [word.replace("_", "-") for word in self.setting.choices]
            return [CompletionItem(word) for word in words if word.startswith(incomplete)]
        if self.setting.kind is Path:
            return [CompletionItem(incomplete, type="dir" if self.setting.exists == "folder" else "file")]
        return []


def read_value(one: Setting, value: Any) -> Any:
    """Return what a setting has where a command line or a file says `value`.

    Raises:
        ValueError: It cannot be that; the message begins with `must be`.
    """
    if isinstance(value, str):
        value = one.parse(value)
    elif one.many and isinstance(value, list | tuple):
        value = tuple(item for part in value for item in (one.parse(part) if isinstance(part, str) else (part,)))
    problem = one.problem(value)
    if problem:
        raise ValueError(problem)
    if one.kind is Path and value is not None:
        return _existing(one, Path(value))
    return value


def _existing(one: Setting, path: Path) -> Path:
    try:
        there = path.is_file() if one.exists == "file" else path.is_dir() if one.exists == "folder" else True
    except (OSError, ValueError):
        there = False
    if not there:
        raise ValueError(f"must be a {one.exists} that exists")
    return path


def _word(value: Any) -> str:
    """Return a value as the user typed it: numbers without quotes."""
    if isinstance(value, str):
        try:
            float(value)
            return value if len(value) <= 40 else shown(value)
        except ValueError:
            pass
    return shown(str(value) if isinstance(value, Path) else value)


class Option(click.Option):
    """A click option with a heading in the help, and the setting it is made from, where it is."""

    def __init__(
        self,
        *args: Any,
        group: str = "output",
        setting: Setting | None = None,
        shown_default: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.group, self.setting, self.shown_default = group, setting, shown_default

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        one = self.setting
        if record is None or one is None:
            return record
        default = self.shown_default(self.name) if callable(self.shown_default) else None
        notes = [f"default: {one.shown_default() if default is None else default}", one.bounds(), one.unit]
        if one.choices and SettingType(one).get_metavar(self, ctx) == "NAME":
            notes.insert(0, f"one of {', '.join(one.choices)}".replace("_", "-"))
        return record[0], f"{record[1]}  [{'; '.join(note for note in notes if note)}]"


def setting_options(
    declared: type,
    *names: str,
    without: Sequence[str] = (),
    defaults: dict[str, Any] | None = None,
    shown_default: Callable[[str], str | None] | None = None,
    unset: bool = False,
) -> Callable[[Any], Any]:
    """Return a decorator that gives a command an option per field of a settings dataclass.

    Args:
        declared: The settings' dataclass.
        names: The fields to take; all of them by default.
        without: Fields to leave out.
        defaults: Other defaults than the fields'.
        shown_default: Called with a field's name for the default to show; None for the field's own.
        unset: Give None where an option is not used, so that something else can fill it.
    """
    known = settings_of(declared)

    def decorate(command: Any) -> Any:
        for name in reversed([name for name in names or known if name not in without]):
            one = known[name]
            if defaults and name in defaults:
                one = _replaced(one, defaults[name])
            command = _option(one, unset=unset, shown_default=shown_default)(command)
        return command

    return decorate


def _replaced(one: Setting, default: Any) -> Setting:
    from dataclasses import replace

    return replace(one, default=default, unset=one.unset if default is None else "")


def _option(one: Setting, *, unset: bool, shown_default: Any) -> Callable[[Any], Any]:
    words = one.option
    if one.kind is bool and one.default is True and "/" not in words:
        words = f"{words}/--no-{words.removeprefix('--')}"
    given: dict[str, Any] = {
        "cls": Option,
        "group": one.group,
        "setting": one,
        "help": one.help,
        "shown_default": shown_default,
        "required": one.default is REQUIRED and not unset,
        "default": None if unset or one.default is REQUIRED or one.default in ({}, ()) else one.default,
    }
    if one.kind is bool:
        return click.option(words, one.name, is_flag=True, **given)
    return click.option(*words.split(), one.name, type=SettingType(one), **given)


class Command(click.Command):
    """A command whose help has groups: the options most people need, and the rest under `--help-all`.

    Args:
        first: Names of the options in `--help`; None for all.
    """

    def __init__(self, *args: Any, first: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.first = None if first is None else set(first)
        debug = Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")
        self.params.append(debug)
        if self.first is not None:
            every = Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_help_all,
                help="Show every option and exit.",
            )
            self.params.append(every)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        everything = self.first is None or ctx.meta.get("help_all")
        groups: dict[str, list[tuple[str, str]]] = {}
        hidden = 0
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            own = isinstance(param, Option) and param.name not in ("help_all", "debug")
            if own and not everything and param.name not in (self.first or ()):
                hidden += 1
                continue
            groups.setdefault(param.group if own else "help", []).append(record)  # type: ignore[attr-defined]
        for group in (*GROUPS, "help"):
            if group in groups:
                with formatter.section(group.capitalize()):
                    formatter.write_dl(groups[group], col_max=32)
        if hidden:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(f"{hidden} more options: em-hf {ctx.info_name} --help-all")


def _help_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["help_all"] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def listing_option(words: str, show: Callable[[], str], help: str, group: str = "method") -> Callable[[Any], Any]:
    """Return the decorator for an option that prints something and ends."""

    def callback(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            click.echo(show())
            ctx.exit()

    return click.option(
        words, cls=Option, group=group, is_flag=True, is_eager=True, expose_value=False, callback=callback, help=help
    )


def entropy_min_options(command: Any = None, *, without: Sequence[str] = ()) -> Any:
    """Add the fields of EntropyMinConfig as options; one that is not given leaves what is stored with the model."""
    from em_hf.generation.config import EntropyMinConfig

    known = settings_of(EntropyMinConfig)
    decorate = setting_options(
        EntropyMinConfig,
        without=without,
        unset=True,
        shown_default=lambda name: f"the model's, else {known[name].shown_default()}",
    )
    return decorate if command is None else decorate(command)


def entropy_min_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the EM-INF settings that were given, checked: fields of EntropyMinConfig.

    Raises:
        click.UsageError: They cannot be, alone or together.
    """
    from em_hf.generation.config import EntropyMinConfig

    names = settings_of(EntropyMinConfig)
    given = {name: options[name] for name in names if options.get(name) is not None}
    try:
        EntropyMinConfig.from_dict(given)
    except ValueError as error:
        text = str(error).removeprefix("EntropyMinConfig: ")
        for name in names:  # the option's name for the field's
            if text.startswith(f"{name} "):
                text = f"--{name.replace('_', '-')}{text.removeprefix(name)}"
        raise click.UsageError(text) from error
    return given


def read_prompt(prompt: str | None, file: Path | None) -> str | None:
    """Return the prompt given: as an argument, on standard input (`-`), or in a file; None where none is.

    Raises:
        click.UsageError: Two were given, or an empty one.
        ValueError: What was read is not UTF-8 text.
    """
    if prompt is not None and file is not None:
        raise click.UsageError("give PROMPT or --file, not both")
    if file is None and prompt != "-":
        text, where = prompt, "PROMPT"
    else:
        where = str(file) if file is not None else "standard input"
        if file is None and click.get_text_stream("stdin").isatty():
            click.echo("Type the prompt; end it with Ctrl-D on a line of its own.", err=True)
        data = file.read_bytes() if file is not None else click.get_binary_stream("stdin").read()
        try:
            text = data.decode("utf-8-sig").rstrip("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    if text is not None and not text.strip():
        raise click.UsageError(f"{where} is empty: give some text, or no PROMPT at all for a problem of ours")
    if text is not None and "\0" in text:
        raise click.UsageError(f"{where} holds a null character, which no text has")
    return text


def json_option(command: Any) -> Any:
    return click.option("--json", "as_json", cls=Option, is_flag=True, help="Print JSON.")(command)


def dry_run_option(command: Any) -> Any:
    text = "Print what would be done; load and write nothing."
    return click.option("--dry-run", cls=Option, is_flag=True, help=text)(command)


def config_option(command: Any) -> Any:
    """Add `--config`: a YAML file of options, over which those on the command line win."""
    return click.option(
        "--config",
        cls=Option,
        type=SettingType(Setting("config", Path, exists="file")),
        is_eager=True,
        callback=_read_config,
        help="YAML file of options; those on the command line win.",
    )(command)


def _read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    values = load_yaml(path)
    options = _by_key(ctx.command)
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        if str(key).replace("-", "_") not in options:
            names = [name.replace("_", "-") for name in options]
            raise click.UsageError(f"{path} has the unknown key {shown(key)}{did_you_mean(key, names)}", ctx)
        option, turned = options[str(key).replace("-", "_")]
        one = option.setting or Setting(str(option.name), bool)
        try:
            kept = read_value(one, value)
        except ValueError as error:
            quotes = "; put it in quotes" if one.kind is str and isinstance(value, int | float) else ""
            raise click.UsageError(f"{key} in {path} is {_word(value)}, but {error}{quotes}", ctx) from error
        defaults[str(option.name)] = not kept if turned else kept
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    click.echo(f"Settings read from {path}.", err=True)
    return path


def _by_key(command: click.Command) -> dict[str, tuple[Option, bool]]:
    """Return the options by the keys that a file may use, and whether a key turns its option off."""
    found: dict[str, tuple[Option, bool]] = {}
    for param in command.params:
        if isinstance(param, Option) and param.expose_value and param.name != "config":
            for words, turned in ((param.opts, False), (param.secondary_opts, True)):
                found |= {word.lstrip("-").replace("-", "_"): (param, turned) for word in words}
    return found


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file of settings: no key twice, no aliases.

    Raises:
        click.UsageError: The file holds something else.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Without aliases, by which a short file grows without bound, and without repeated keys."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1}: no aliases here")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen if isinstance(key.value, str) else False:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {shown(key.value)} stands there twice")
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise click.UsageError(f"{path} has {path.stat().st_size:,} bytes, too many for a file of settings")
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader)
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except RecursionError as error:
        raise click.UsageError(f"{path} is nested too deeply for a file of settings") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise click.UsageError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise click.UsageError(f"{path} must hold 'option: value' lines, not {type(values).__name__}")
    return values
