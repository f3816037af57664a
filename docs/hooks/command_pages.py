"""Make a page of options for each command while MkDocs builds the site, from the parsers that the commands use."""

import argparse
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from nnunet_resunet_ds.cli import COMMANDS

FOLDER = "reference/options"
INDEX = f"{FOLDER}/index.md"
NAV_TITLE = "Options of each command"
_USAGE_WIDTH = 80
_INDEX_HEAD = """\
# Options of each command

Every command takes `-h` (`--help`) and `-v` (`--verbose`), which prints what is done to each case.
"""
_EXAMPLES = re.compile(r"Examples?:\n")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the page of each command into the navigation, below the one that lists them."""
    pages = [INDEX, *({name: f"{FOLDER}/{name}.md"} for name in COMMANDS)]
    (reference,) = [section["Reference"] for section in config.nav or [] if "Reference" in section]
    for entry in reference:
        if NAV_TITLE in entry:
            entry[NAV_TITLE] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, which lie in no folder."""
    files.append(File.generated(config, INDEX, content=index_page()))
    for name in COMMANDS:
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=command_page(name)))
    return files


def index_page() -> str:
    """Return the page that lists the commands, in the order of their use."""
    rows = [f"| [`{name}`]({name}.md) | {_plain(command.SUMMARY)} |" for name, command in COMMANDS.items()]
    return "\n".join([_INDEX_HEAD, "| command | does |", "|---|---|", *rows, ""])


def command_page(name: str) -> str:
    """Return the page of one command: what it does, how it is called, and every argument."""
    command = COMMANDS[name]
    parser = _parser(name, command)
    usage = f"## Usage\n\n```text\n{_usage(parser)}\n```\n"
    return "\n".join([f"# resunet-ds {name}\n", *_description(command.__doc__ or ""), usage, *_tables(parser)])


def _parser(name: str, command: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"resunet-ds {name}", add_help=False, formatter_class=_Formatter)
    command.add_arguments(parser)
    return parser


class _Formatter(argparse.HelpFormatter):
    """Writes usage in lines of the same length on every terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_USAGE_WIDTH)


def _usage(parser: argparse.ArgumentParser) -> str:
    return parser.format_usage().removeprefix("usage: ").rstrip()


def _description(doc: str) -> Iterator[str]:
    """Yield the paragraphs of a command's docstring; what is laid out in columns stays as it is."""
    for paragraph in doc.strip().split("\n\n"):
        examples = _EXAMPLES.match(paragraph)
        if examples:
            yield f"```bash\n{textwrap.dedent(paragraph[examples.end() :])}\n```\n"
        elif re.search(r"\S {2,}\S", paragraph):
            yield f"```text\n{paragraph}\n```\n"
        else:
            yield f"{_plain(paragraph)}\n"


def _tables(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a table for each group of arguments."""
    for group in parser._action_groups:  # argparse has no public name for them
        if group._group_actions:
            yield f"## {(group.title or 'further').capitalize()}\n"
            yield from ["| argument | does |", "|---|---|", *map(_row, group._group_actions), ""]


def _row(action: argparse.Action) -> str:
    called = argparse.HelpFormatter("")._format_action_invocation(action).replace("|", "\\|")
    needed = "**needed**; " if action.required and action.option_strings else ""
    help_text = (action.help or "") % {**vars(action), "prog": ""}
    return f"| `{called}` | {needed}{_plain(' '.join(help_text.split()))} |"


def _plain(text: str) -> str:
    """Return text in which Markdown finds nothing to format."""
    return _MARKDOWN.sub(r"\\\1", text)
