"""Commands, groups and flags in Docker's manner on top of click: its usage errors, its help pages, its late loading.

Owns how arguments are read and how misuse is reported; never does what a command does. Source: spf13/pflag and
docker/cli's wording.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from cli import units
from cli.failures import FAILED, MISUSED, CliFailure

HELP_WIDTH: Final = 80
_FALSE: Final = "-is-false"
_BOOLEANS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic only in click's newest versions


class FlagType(_Type):
    """A flag's type: `name` as help shows it, `parse` raises ValueError with the sentence after `invalid argument …
    for … flag`."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as e:
            raise CliFailure(_with_usage(ctx, _invalid(value, param, str(e))), MISUSED) from e


def _unsigned(text: str) -> int:
    if not text.isdigit() or not text.isascii():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as e:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from e


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from e


def _filter(text: str) -> str:
    if "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
    return text


STRING: Final = FlagType("string", str)
LIST: Final = FlagType("list", str)
FILTER: Final = FlagType("filter", _filter)
UINT: Final = FlagType("uint", _unsigned)
INT: Final = FlagType("int", _integer)
FLOAT: Final = FlagType("float", _number)
DURATION: Final = FlagType("duration", units.parse_duration)
BYTES: Final = FlagType("bytes", units.parse_size)
DECIMAL: Final = FlagType("decimal", units.parse_cpus)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(*names: str, help: str, type: FlagType = STRING, default: Any = None) -> Decorator:
    """A flag with a value; given twice, the last one counts. None when it isn't given, unless there is a default."""
    return click.option(*names, help=help, type=type, default=default)


def options(*names: str, help: str, type: FlagType = LIST) -> Decorator:
    """A flag that may be given many times: a tuple."""
    return click.option(*names, help=help, type=type, multiple=True)


def switch(*names: str, help: str) -> Decorator:
    """A boolean flag (`--x`, `--x=false`): None when it isn't given."""
    long = next(n for n in names if n.startswith("--"))
    short = [n for n in names if not n.startswith("--")]
    return click.option(f"{long}/{long}{_FALSE}", *short, help=help, default=None)


class Command(click.Command):
    """A command whose operands are counted as Docker counts them."""

    optional = True  # whether the usage line says [OPTIONS]

    def __init__(
        self, name: str, operands: str, least: int, most: int | None, aliases: Sequence[str], **rest: Any
    ) -> None:
        super().__init__(name, **rest)
        self.operands = operands
        self.least = least
        self.most = most
        self.aliases = aliases

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _reported(ctx):
            rest = super().parse_args(ctx, _booleans_rewritten(self, ctx, args))
        count = len(ctx.params.get("arguments", ()))
        complaint = self._complaint(count)
        if complaint:
            raise CliFailure(_count_text(ctx, complaint))
        return rest

    def _complaint(self, count: int) -> str:
        least, most = self.least, self.most
        if least <= count and (most is None or count <= most):
            return ""
        if most == 0:
            return "accepts no arguments"
        if least == most:
            return f"requires {_arguments(least)}"
        if most is None:
            return f"requires at least {_arguments(least)}"
        if least == 0:
            return f"requires at most {_arguments(most)}"
        return f"requires at least {least} and at most {_arguments(most)}"

    def get_usage(self, ctx: click.Context) -> str:
        shown = self.optional and any(isinstance(p, click.Option) and p.name != "help" for p in self.params)
        parts = (ctx.command_path, "[OPTIONS]" if shown else "", self.operands)
        return "Usage:  " + " ".join(p for p in parts if p)

    def get_help(self, ctx: click.Context) -> str:
        text, top = f"{self.get_usage(ctx)}\n\n{self.help}\n", ctx.command_path.split()[0]
        if self.aliases:
            text += "\nAliases:\n  " + ", ".join(f"{top} {alias}" for alias in self.aliases) + "\n"
        flags = [p for p in self.params if isinstance(p, click.Option) and p.name != "help"]
        return text + ("\nOptions:\n" + _flag_lines(flags) if flags else "")


def command(
    name: str,
    operands: str = "",
    *,
    summary: str,
    least: int = 0,
    most: int | None = 0,
    aliases: Sequence[str] = (),
    interspersed: bool = True,
) -> Callable[[Callable[..., Any]], Command]:
    """A command of `least` to `most` operands (None: any number). The function gets the context's object (the Api)
    and then `arguments`, a tuple, and the flags by name. Without `interspersed` flags end at the first operand."""

    def decorate(function: Callable[..., Any]) -> Command:
        flags = list(reversed(getattr(function, "__click_params__", [])))
        operand = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
        return Command(
            name,
            operands,
            least,
            most,
            aliases,
            callback=click.pass_obj(function),
            params=[*flags, operand],
            help=summary,
            context_settings={"allow_interspersed_args": interspersed, "max_content_width": HELP_WIDTH},
        )

    return decorate


class Group(click.Group):
    """Commands that are imported only when they are asked for: `lazy` maps a name to ("module:attribute",
    summary)."""

    def __init__(self, name: str, *, summary: str, lazy: Mapping[str, tuple[str, str]], aliases: Mapping[str, str] | None = None) -> None:
        super().__init__(name, help=summary, invoke_without_command=True, callback=click.pass_context(_show_help))
        self._lazy = lazy
        self._aliases = aliases or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self._lazy.get(self._aliases.get(cmd_name, cmd_name))
        if found is None:
            return None
        module, _, attribute = found[0].partition(":")
        loaded = getattr(import_module(module), attribute)
        assert isinstance(loaded, click.Command)
        return loaded

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        loaded = self.get_command(ctx, args[0])
        if loaded is None:
            usage = f"Usage:  {ctx.command_path}\n\n" if ctx.parent else ""
            top = ctx.command_path.split()[0]
            raise CliFailure(
                f"{top}: unknown command: {ctx.command_path} {args[0]}\n\n{usage}"
                f"Run '{ctx.command_path} --help' for more information"
            )
        return args[0], loaded, args[1:]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _reported(ctx):
            return super().parse_args(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        rows = [f"  {name:<11} {summary}" for name, (_, summary) in sorted(self._lazy.items())]
        flags = [p for p in self.params if isinstance(p, click.Option) and p.name != "help"]
        tail = "\nOptions:\n" + _flag_lines(flags) if flags else ""
        listed = "\n".join(rows)
        usage = f"Usage:  {ctx.command_path} {'[OPTIONS] ' if flags else ''}COMMAND"
        path = ctx.command_path
        return f"{usage}\n\n{self.help}\n\nCommands:\n{listed}\n{tail}\nRun '{path} COMMAND --help' for more information on a command."


def _show_help(ctx: click.Context, /, **_flags: Any) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)


def _arguments(count: int) -> str:
    return f"{count} argument" + ("" if count == 1 else "s")


def _count_text(ctx: click.Context, complaint: str) -> str:
    path = ctx.command_path
    verb = "See" if "at least" in complaint and "at most" not in complaint else "Run"
    return (
        f"{path.split()[0]}: '{path}' {complaint}\n\n{ctx.get_usage()}\n\n"
        f"{verb} '{path} --help' for more information"
    )


def _with_usage(ctx: click.Context | None, text: str) -> str:
    if ctx is None:
        return text
    return f"{text}\n\n{ctx.get_usage()}\n\nRun '{ctx.command_path} --help' for more information"


def _invalid(value: str, param: click.Parameter | None, reason: str) -> str:
    names = sorted((o for o in param.opts), key=len) if param is not None else []
    return f'invalid argument "{value}" for "{", ".join(names)}" flag: {reason}'


@contextmanager
def _reported(ctx: click.Context) -> Iterator[None]:
    """click's complaints in pflag's words."""
    try:
        yield
    except click.NoSuchOption as e:
        name = e.option_name
        text = f"unknown flag: {name}" if name.startswith("--") else f"unknown shorthand flag: '{name[-1]}' in {name}"
        raise CliFailure(_with_usage(ctx, text), MISUSED) from e
    except click.BadOptionUsage as e:
        name = e.option_name
        needs = name if name.startswith("--") else f"'{name[-1]}' in {name}"
        raise CliFailure(_with_usage(ctx, f"flag needs an argument: {needs}"), MISUSED) from e
    except click.UsageError as e:
        raise CliFailure(_with_usage(ctx, e.format_message()), FAILED) from e


def _booleans_rewritten(cmd: click.Command, ctx: click.Context, args: list[str]) -> list[str]:
    """`--x=true` and `--x=false` of boolean flags as click knows them: `--x` and `--x-is-false`. Nothing behind the
    flags is touched."""
    flags = [p for p in cmd.params if isinstance(p, click.Option)]
    boolean = {name: p for p in flags if p.is_flag for name in p.opts}
    valued = {name for p in flags if not p.is_flag for name in p.opts}
    rewritten: list[str] = []
    position = 0
    while position < len(args):
        arg = args[position]
        position += 1
        name, equals, value = arg.partition("=")
        if arg == "--" or (not arg.startswith("-") and not ctx.allow_interspersed_args):
            return [*rewritten, *args[position - 1 :]]
        if equals and name in boolean and name.startswith("--"):
            meant = _BOOLEANS.get(value.lower())
            if meant is None:
                reason = f'strconv.ParseBool: parsing "{value}": invalid syntax'
                raise CliFailure(_with_usage(ctx, _invalid(value, boolean[name], reason)), MISUSED)
            arg = name if meant else name + _FALSE
        rewritten.append(arg)
        takes_next = arg in valued or (not arg.startswith("--") and len(arg) > 1 and _last_takes(arg, valued))
        if takes_next and position < len(args):
            rewritten.append(args[position])
            position += 1
    return rewritten


def _last_takes(arg: str, valued: set[str]) -> bool:
    """Whether a bundle of short flags ends in one whose value is the next argument."""
    if not arg.startswith("-"):
        return False
    first = next((i for i, letter in enumerate(arg[1:]) if f"-{letter}" in valued), None)
    return first is not None and first == len(arg) - 2


def _flag_lines(flags: Sequence[click.Option]) -> str:
    heads = []
    for flag in flags:
        long = next((o for o in flag.opts if o.startswith("--")), "")
        short = next((o for o in flag.opts if not o.startswith("--")), "")
        kind = "" if flag.is_flag else f" {flag.type.name}"
        heads.append(f"  {short}, {long}{kind}" if short else f"      {long}{kind}")
    column = max(map(len, heads)) + 3
    lines = []
    for head, flag in sorted(zip(heads, flags, strict=True), key=lambda pair: pair[0].lstrip(" -")):
        room = max(HELP_WIDTH - column, 24)
        wrapped = [line for part in (flag.help or "").split("\n") for line in textwrap.wrap(part, room)] or [""]
        lines.append(head.ljust(column) + wrapped[0])
        lines += [" " * column + more for more in wrapped[1:]]
    return "\n".join(lines) + "\n"
