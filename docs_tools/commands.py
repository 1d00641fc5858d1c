"""The parts of ``command-line.md``: every command, from the parsers of the command line.

Nothing here goes through argparse's own formatting, which differs between versions of Python and
with the width of the terminal.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from toprovar.cli import command
from toprovar.cli import commands as all_commands
from toprovar.sparsity.strategies.registry import names

from .markdown import anchor, plain, table

FEWEST = 3
"""Commands that have a group of options in common before it is described in a place of its own."""
STRATEGY, OTHER = "Strategy ", "Options: "
"""Beginnings of the headings of shared options, of one strategy and of anything else."""
STRATEGIES = "Options of the strategies"
"""The heading above those of the strategies."""


class Entry(NamedTuple):
    """An option or an argument, in words."""

    name: str
    help: str
    required: bool
    more: str = ""  # what follows it where it may be given several times


class Group(NamedTuple):
    """Options that a command shows together."""

    title: str
    description: str
    entries: tuple[Entry, ...]


class Command(NamedTuple):
    """A command, or one action of it."""

    name: str
    summary: str
    arguments: tuple[Entry, ...]
    groups: tuple[Group, ...]


def index() -> str:
    """A line for every command."""
    return table(("command", "what it does"), [
        (f"[`toprovar {name}`](#{anchor('toprovar ' + name)})", plain(summary))
        for name, summary in all_commands().items()])


def every_command() -> str:
    shared = _shared()
    parts = []
    for one in _commands():
        level = "##" if " " not in one.name else "###"
        parts += [f"{level} toprovar {one.name}", _sentence(one.summary)]
        if one.arguments or one.groups:
            parts.append(f"```text\n{_usage(one)}\n```")
        own = [group for group in one.groups if group not in shared]
        if one.arguments:
            parts.append(table(("argument", "what it is"), _rows(one.arguments)))
        for group in own:
            if group.title:
                parts.append(_head(group))
            parts.append(table(("option", "what it does"), _rows(group.entries)))
        headings = dict.fromkeys(_heading(group) for group in one.groups if group in shared)
        if any(heading.startswith(STRATEGY) for heading in headings):
            headings = {**{heading: None for heading in headings
                           if not heading.startswith(STRATEGY)}, STRATEGIES: None}
        if headings:
            links = ", ".join(f"[{heading.removeprefix(OTHER)}](#{anchor(heading)})"
                              for heading in headings)
            parts.append(f"It also has these options, which several commands share: {links}.")
    return "\n\n".join(parts)


def shared_options() -> str:
    """Options of no strategy, then those of the strategies, each with those for experts."""
    ordered = sorted(_shared().items(), key=lambda one: _heading(one[0]).startswith(STRATEGY))
    parts, before = list[str](), ""
    for group, users in ordered:
        heading = _heading(group)
        told = f"Options of {_listed(users)}."
        if heading.startswith(STRATEGY) and not before.startswith(STRATEGY):
            parts += [f"### {STRATEGIES}", told]
        if heading == before:
            parts.append("For experts:")
        elif heading.startswith(STRATEGY):
            parts += [f"#### {heading}", _sentence(group.description)]
        else:
            about = f"{_sentence(group.description)} " if group.description else ""
            parts += [f"### {heading}", about + told]
        parts.append(table(("option", "what it does"), _rows(group.entries)))
        before = heading
    return "\n\n".join(parts)


def _heading(group: Group) -> str:
    """A strategy's options for experts stand under its heading, too."""
    name = group.title.removesuffix(", for experts")
    return f"{STRATEGY}{name}" if name in names() else OTHER + group.title


def _listed(users: Sequence[str]) -> str:
    told = [f"`{name}`" for name in users]
    return f"{', '.join(told[:-1])} and {told[-1]}"


@cache
def _commands() -> tuple[Command, ...]:
    return tuple(_walked())


def _walked() -> Iterator[Command]:
    for name, summary in all_commands().items():
        parser = argparse.ArgumentParser(prog=f"toprovar {name}", add_help=False)
        command(name).add_arguments(parser)
        yield from _described(name, summary, parser)


def _described(name: str, summary: str, parser: argparse.ArgumentParser) -> Iterator[Command]:
    arguments, groups = list[Entry](), list[Group]()
    below = list[Command]()
    for group in parser._action_groups:
        entries = list[Entry]()
        for action in group._group_actions:
            if isinstance(action, argparse._HelpAction):
                continue
            if isinstance(action, argparse._SubParsersAction):
                told = {choice.dest: choice.help or "" for choice in action._choices_actions}
                for own, parsed in action.choices.items():
                    below += _described(f"{name} {own}", told[own], parsed)
            elif action.option_strings:
                entries.append(Entry(_spelt(action), _help(action), action.required))
            else:
                arguments.append(Entry(_argument(action), _help(action),
                                       action.nargs not in ("?", "*"),
                                       " ..." if action.nargs in ("*", "+") else ""))
        own_title = group not in (parser._positionals, parser._optionals)
        if entries:
            title = group.title or ""
            groups.append(Group(title if own_title else "", group.description or "",
                                tuple(entries)))
    yield Command(name, summary, tuple(arguments), tuple(groups))
    yield from below


@cache
def _shared() -> dict[Group, list[str]]:
    """Titled groups that several commands have, and which."""
    count = Counter(group for one in _commands() for group in one.groups if group.title)
    return {group: [one.name for one in _commands() if group in one.groups]
            for group, number in count.items() if number >= FEWEST}


def _spelt(action: argparse.Action) -> str:
    """"`--seed SEED`", with all spellings of it."""
    value = _value(action)
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
    if action.nargs == 0 or not value:
        return flags
    last = action.option_strings[-1]
    return flags.removesuffix(f"`{last}`") + f"`{last} {value}`"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is not None:
        name = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    elif action.choices is not None:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        name = {int: "N", float: "X"}.get(action.type, "") or action.dest.upper()  # type: ignore[call-overload]  # of any kind
    several = {"*": f"[{name} ...]", "+": f"{name} ...", "?": f"[{name}]"}
    return several.get(str(action.nargs), name)


def _argument(action: argparse.Action) -> str:
    name = action.metavar if isinstance(action.metavar, str) else action.dest
    if action.choices is not None and action.metavar is None:
        return f"`{name}`: " + ", ".join(f"`{one}`" for one in action.choices)
    return f"`{name}`"


def _help(action: argparse.Action) -> str:
    # As argparse fills it in, without what its versions add to it.
    values = {**vars(action), "prog": "toprovar"}
    return (action.help or "") % values


def _usage(one: Command) -> str:
    words = [f"toprovar {one.name}"]
    for entry in one.arguments:
        name = entry.name.split("`")[1] + entry.more
        words.append(name if entry.required else f"[{name}]")
    required = [entry.name.replace("`", "").split(", ")[-1]
                for group in one.groups for entry in group.entries if entry.required]
    words += required
    if one.groups:
        words.append("[options]")
    return " ".join(words)


def _rows(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(one.name, plain(one.help)) for one in entries]


def _head(group: Group) -> str:
    about = f": {plain(group.description)}" if group.description else ""
    return f"*{plain(group.title)}*{about}"


def _sentence(text: str) -> str:
    text = plain(text)
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
