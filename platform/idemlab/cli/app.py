"""The application: its groups, its options, and how errors are shown.

Exit codes: 0 success, 1 failure, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from .. import __version__
from ..catalog.catalog import installed
from ..catalog.faults import running
from ..catalog.unreadable import scan_failure, spare_imports
from ..errors import BadInput, Failure, IdemlabError, nearest_match
from ..watching.terminal import is_main_process
from .console import note, only_results, show_error
from .fields import as_typed

__all__ = ["Group", "app", "example"]

UsageError: type[Any] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "UsageError")
"""Typer's base class of errors in a command line; typer does not export it."""

_ENVIRONMENT = {errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS}
"""Errors caused by the machine, not by the program."""


def example(*lines: str) -> str:
    """The examples of a command, for the end of its help."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


class Group(TyperGroup):
    """A group of commands that suggests the nearest one for an unknown command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise BadInput(
                f"there is no command '{args[0]}'",
                where=ctx.command_path,
                choices=sorted(self.commands),
                nearest=nearest_match(args[0], self.commands),
                next_step=f"{ctx.command_path} --help",
            )
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, name: str) -> Any:
        command: Any = super().get_command(ctx, name)
        for parameter in command.params if command else ():
            if parameter.param_type_name == "argument" and parameter.metavar:  # the metavar already says the type
                parameter.display_type_rich = lambda ctx: None
        return command

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands)


class _Root(Group):
    """The command `idemlab`: turns every error into a message on stderr and an exit code."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        if "_IDEMLAB_COMPLETE" in os.environ:  # a shell asks for completions
            self._main_shell_completion({}, "idemlab", "_IDEMLAB_COMPLETE")
        try:
            code = self._code(sys.argv[1:] if args is None else args)
            sys.stdout.flush()
        except BrokenPipeError:  # `idemlab list | head`: the reader has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        sys.exit(code)

    def _code(self, args: Sequence[str]) -> int:
        _tell_broken_distributions()
        try:
            kept = "--json" in args and not {"-h", "--help"} & set(args)
            with only_results() if kept else nullcontext(), self.make_context("idemlab", list(args)) as context:
                self.invoke(context)
        except typer.Exit as end:
            return end.exit_code
        except KeyboardInterrupt:
            note("interrupted")
            return 130
        except BrokenPipeError:
            raise
        except Exception as error:
            told = _told(error, args)
            if told is None:
                traceback.print_exc()
                told = _bug(error)
            show_error(as_typed(told, _options(self, args)))
            return told.exit_code
        return 0


def _tell_broken_distributions() -> None:
    """Name the installed distributions that other packages stumble over, and let torch load despite them."""
    for broken in spare_imports():
        if is_main_process():
            note(f"warning: {broken.what} ({broken.file})", f"  next: {broken.fix}")


def _options(root: Any, args: Sequence[str]) -> list[str]:
    """The options of the command that was called."""
    command = root
    for word in args:
        command = getattr(command, "commands", {}).get(word, command)
    return [option for parameter in command.params for option in parameter.opts if option.startswith("--")]


def _told(error: Exception, args: Sequence[str]) -> IdemlabError | None:
    """An error as the user should read it, or None if it needs its traceback."""
    if isinstance(error, IdemlabError):
        return error
    if isinstance(error, UsageError):
        return _usage(error, args)
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT:
        return Failure(str(error.strerror), where=str(error.filename) if error.filename else None)
    return scan_failure(error)


def _bug(error: Exception) -> Failure:
    """The message for an unexpected error; it names the plugin that raised it, if one did."""
    through = running(error, installed().plugins) if installed.cache_info().currsize else []
    return Failure(
        f"this is a bug in {through[0][0].distribution if through else 'idemlab or in a plugin'}, not a mistake of yours",
        where=f"{through[0][0]} ({through[0][1]})" if through else None,
        next_step="report it with the lines above and the output of: idemlab doctor",
    )


def _usage(error: Any, args: Sequence[str]) -> BadInput:
    """The message for a command line that typer could not read."""
    command = error.ctx.command_path if error.ctx else " ".join(["idemlab", *args[:1]])
    help_command = f"{command} --help"
    if hasattr(error, "possibilities"):
        options = [option for parameter in error.ctx.command.params for option in parameter.opts if option[:2] == "--"]
        return BadInput(
            f"there is no option '{error.option_name}'",
            where=command,
            choices=[*options, "--help"],
            nearest=nearest_match(error.option_name, options),
            next_step=help_command,
        )
    if hasattr(error, "param_type") and error.param is not None:
        return BadInput(f"the argument {error.param.metavar} is missing", where=command, next_step=help_command)
    text = error.format_message().rstrip(".")
    return BadInput(text[:1].lower() + text[1:], where=command, next_step=help_command)


app = typer.Typer(
    name="idemlab",
    cls=_Root,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"idemlab {__version__}")
        raise typer.Exit


@app.callback(
    invoke_without_command=True,
    epilog=example("idemlab run digits-projector", "idemlab list enforcers", "idemlab show cubic"),
)
def idemlab(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train idempotent neural networks, f(f(x)) = f(x), and show what they learned."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
