"""What ``--help`` tells of options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from toprovar.cli import command, commands


def parsers(parser: argparse.ArgumentParser, name: str
            ) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command's parser, and those of its actions."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for own, below in action.choices.items():
                yield from parsers(below, f"{name} {own}")


def every_option() -> Iterator[tuple[str, argparse.Action, object]]:
    """("generate --seed", its action, its default) of all options of all commands."""
    for each in commands():
        whole = argparse.ArgumentParser()
        command(each).add_arguments(whole)
        for name, parser in parsers(whole, each):
            for action in parser._actions:
                if action.option_strings and not isinstance(action, argparse._HelpAction):
                    yield (f"{name} {action.option_strings[0]}", action,
                           parser.get_default(action.dest))


OPTIONS = list(every_option())


def test_all_commands_are_walked() -> None:
    assert {place.split()[0] for place, *_ in OPTIONS} == set(commands())
    assert "plan make --budget" in {place for place, *_ in OPTIONS}


@pytest.mark.parametrize(("place", "action", "default"), OPTIONS, ids=[p for p, *_ in OPTIONS])
def test_options_are_explained_with_their_defaults(place: str, action: argparse.Action,
                                                   default: object) -> None:
    assert action.help, f"{place} is not explained"
    if action.nargs == 0 or action.required or action.help.startswith("instead: "):
        return
    if default is None:  # what happens then, in words
        assert "(default: " in action.help, action.help
        return
    told = f"{default:,}" if isinstance(default, int) else f"{default}"
    assert f"(default: {default}" in action.help or f"(default: {told}" in action.help, action.help
