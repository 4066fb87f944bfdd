"""Options made from the fields of settings dataclasses, and grouped help."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from em_hf.messages import shown
from em_hf.settings import GROUPS, REQUIRED, Setting, settings_of

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH", dict: "JSON"}


class SettingType(click.ParamType):
    """The type of an option described by a setting: words are parsed into values, anything else is a one-line error."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.name = setting.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return read_value(self.setting, value)
        except ValueError as error:
            problem = str(error)
            for word in self.setting.choices or ():  # hyphenated, as on the command line
                problem = problem.replace(word, word.replace("_", "-"))
            raise click.UsageError(f"{self.setting.option} is {typed(value)}, but {problem}", ctx) from error

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
    """Return the value of a setting that is given as `value` on the command line or in a file.

    Raises:
        ValueError: The value is not allowed; the message begins with `must be`.
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
        path = path.expanduser()  # a shell leaves the ~ of --output=~/run and of a file
        there = path.is_file() if one.exists == "file" else path.is_dir() if one.exists == "folder" else True
    except (OSError, RuntimeError, ValueError):  # RuntimeError: there is no user of that name
        there = False
    if not there:
        raise ValueError(f"must be a {one.exists or 'path'} that exists")
    return path


def typed(value: Any) -> str:
    """Return a value as the user typed it: numbers without quotes."""
    if isinstance(value, str):
        try:
            float(value)
            return value if len(value) <= 40 else shown(value)
        except ValueError:
            pass
    return shown(str(value) if isinstance(value, Path) else value)


class Option(click.Option):
    """A click option with a heading in the help, and the setting it is made from, if any."""

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

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = super().value_from_envvar(ctx)
        if self.name == "trust_remote_code" and value and click.BOOL.convert(value, self, ctx):
            raise click.UsageError(
                "an environment variable asks for trust_remote_code, but none may allow a repository's code: unset "
                "it, and give --trust-remote-code on the command line",
                ctx,
            )
        return value

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
        defaults: Defaults that replace the fields' own.
        shown_default: Called with a field's name for the default to show; None for the field's own.
        unset: Use None for an option that is not given, so that its value can come from elsewhere.
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
    """A command with grouped help: the options most people need, and the rest under `--help-all`.

    Args:
        first: Names of the options in `--help`; None for all.
    """

    def __init__(self, *args: Any, first: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.epilog:
            self.epilog = f"\b\n{self.epilog}"  # click leaves the line whole, so that the example can be copied
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
            if record is None or isinstance(param, click.Argument):  # the command's text explains its arguments
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
    """Return the decorator for an option that prints something and exits."""

    def callback(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            click.echo(show())
            ctx.exit()

    return click.option(
        words, cls=Option, group=group, is_flag=True, is_eager=True, expose_value=False, callback=callback, help=help
    )


def entropy_min_options(command: Any = None, *, without: Sequence[str] = ()) -> Any:
    """Add the fields of EntropyMinConfig as options; one that is not given keeps the value stored with the model."""
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
    """Return the EM-INF settings that were given, as checked fields of EntropyMinConfig.

    Raises:
        click.UsageError: A value is not allowed, alone or together with the others.
    """
    from em_hf.generation.config import EntropyMinConfig

    names = settings_of(EntropyMinConfig)
    given = {name: options[name] for name in names if options.get(name) is not None}
    try:
        EntropyMinConfig.from_dict(given)
    except ValueError as error:
        text = str(error).removeprefix("EntropyMinConfig: ")
        for name in names:  # replace the field's name with the option's
            if text.startswith(f"{name} "):
                text = f"--{name.replace('_', '-')}{text.removeprefix(name)}"
        raise click.UsageError(text) from error
    return given


def check_unused(ctx: click.Context, why: str, *names: str) -> None:
    """Raise UsageError if one of these options, which have no effect here, is given and not at its default.

    An environment variable may be set for other commands, so it does not count.

    Args:
        why: What the error says after the option's name.
    """
    for param in ctx.command.params:
        if not (isinstance(param, Option) and param.setting and param.name in names):
            continue
        given = ctx.get_parameter_source(param.name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
        if given and ctx.params[param.name] != param.setting.default:
            raise click.UsageError(f"{param.setting.option} {why}", ctx)


def json_option(command: Any) -> Any:
    return click.option("--json", "as_json", cls=Option, is_flag=True, help="Print JSON.")(command)


def dry_run_option(command: Any) -> Any:
    text = "Print what would be done; load and write nothing."
    return click.option("--dry-run", cls=Option, is_flag=True, help=text)(command)
