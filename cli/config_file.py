"""`--config`: a YAML file of options, checked like options."""

from pathlib import Path
from typing import Any

import click

from em_hf.messages import did_you_mean, one_line, shown
from em_hf.settings import Setting

from .options import Option, SettingType, read_value, typed

MAX_BYTES = 1_000_000


def config_option(command: Any) -> Any:
    """Add `--config`, a YAML file of options; those on the command line take precedence."""
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
            raise click.UsageError(f"{key} in {path} is {typed(value)}, but {error}{quotes}", ctx) from error
        if option.name == "trust_remote_code" and kept:
            raise click.UsageError(
                f"{key} in {path}: no file may allow a repository's code; give --trust-remote-code on the command line",
                ctx,
            )
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
    """Return the mapping in a YAML file of settings, which may have no duplicate keys and no aliases.

    Raises:
        click.UsageError: The file holds anything else.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """A loader that rejects duplicate keys, and aliases, which let a short file expand without bound."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1}: no aliases here")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen if isinstance(key.value, str) else False:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {shown(key.value)} is given twice")
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    try:
        if path.stat().st_size > MAX_BYTES:
            raise click.UsageError(f"{path} has {path.stat().st_size:,} bytes, too many for a file of settings")
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader)
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except RecursionError as error:
        raise click.UsageError(f"{path} is nested too deeply for a file of settings") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise click.UsageError(f"{path} is not YAML: {one_line(error, 300)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise click.UsageError(f"{path} must hold 'option: value' lines, not {type(values).__name__}")
    return values
