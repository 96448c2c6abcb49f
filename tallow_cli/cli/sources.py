"""Where an option's value came from: typed, from the environment, from the config file, or nowhere (its default).

Flags win over the environment, that over the config file, that over the default. A mistake is blamed on the place
that made it: somebody who typed no such option would look for it in vain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tallow_cli.cli.environment import Environment
from tallow_cli.errors import BadOption, InvalidCode

if TYPE_CHECKING:
    from typer._click import Context, Parameter

# An option whose empty value says something: no address in particular is every address.
_MAY_BE_EMPTY = frozenset({"host"})


def is_typed(context: Context, name: str) -> bool:
    """Whether the parameter's value stands on the command line."""
    return _source(context, name) == "COMMANDLINE"


def origin(context: Context, name: str) -> str | None:
    """The variable or the config file that gave the parameter's value; None if it was typed or is the default."""
    source = _source(context, name)
    if source == "ENVIRONMENT":
        parameter = next(p for p in context.command.params if p.name == name)
        return str(parameter.envvar)
    if source == "DEFAULT_MAP":
        environment = context.find_object(Environment)  # `cli.app` hands it to the root context
        return "the config file" if environment is None else str(environment.config_path)
    return None


def refuse_empty(context: Context) -> None:
    """Raises BadOption for an option that was given as an empty text: mostly a variable that is not set.

    An environment variable that is empty counts as not set, and never gets here.
    """
    for parameter in context.command.params:
        if parameter.param_type_name != "option" or parameter.name in _MAY_BE_EMPTY:
            continue
        value = context.params.get(parameter.name or "")
        if value == "" or (isinstance(value, (list, tuple)) and "" in value):
            raise BadOption(_shown(parameter), "it is empty; give it a value, or leave it out")


@contextmanager
def blaming(context: Context) -> Iterator[None]:
    """Has a BadOption or InvalidCode name the variable or the config file that the value came from."""
    try:
        yield
    except BadOption as error:
        flag = error.option.split(" ", maxsplit=1)[0]
        parameter = next((p for p in context.command.params if flag in p.opts), None)
        place = origin(context, parameter.name or "") if parameter is not None else None
        if parameter is None or place is None:
            raise
        if parameter.envvar == place:
            raise BadOption(place, error.problem) from error
        raise BadOption(f"{place}: {flag.lstrip('-')}", error.problem) from error
    except InvalidCode as error:
        place = origin(context, "code")
        if place is None or context.params.get("code_words"):
            raise
        raise InvalidCode(error.problem, place) from error


def _source(context: Context, name: str) -> str | None:
    source = context.get_parameter_source(name)
    return None if source is None else source.name


def _shown(parameter: Parameter) -> str:
    return max(parameter.opts, key=len)
