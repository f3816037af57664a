"""The code blocks that are read and not run: every command has its flags, every file its form."""

import argparse
import importlib.util
import json
import re
import sys
from importlib.metadata import entry_points

import pytest
from code_blocks import PAGES, PROJECT, Block, blocks, blocks_of, commands, inline_commands

from dataset_conversion.custom_edition import read_custom_edition
from nnunet_resunet_ds.cli import COMMANDS, _parser
from nnunet_resunet_ds.training.planning.recipe import SECTION, Recipe
from postprocessing import PostprocessingConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
NNUNET = {
    script.name: script for script in entry_points(group="console_scripts") if script.name.startswith("nnUNetv2_")
}
OTHERS = {".", "apt", "dask", "docker", "eval", "export", "mypy", "pytest", "ruff", "sbatch"}
"""Programs whose arguments are not looked at."""
EXAMPLES = [
    Block(f"{name} --help", "bash", found[1])
    for name, command in COMMANDS.items()
    if (found := re.search(r"^Examples?:\n(.*?)(?=\n\n|\Z)", command.__doc__, re.MULTILINE | re.DOTALL))
]
RUNNING_TEXT = re.compile(r"…|\.\.\.|COMMAND")


class ParsedError(Exception):
    """Raised in place of what a command of nnU-Net would do."""


def parse_with_nnunet(words):
    """Give words to nnU-Net's own parser, and go no further."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *arguments):
        parse(parser, *arguments)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ParsedError):
        patch.setattr(sys, "argv", words)
        command = NNUNET[words[0]].load()
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        command()


def check(words):
    program, *arguments = words
    if program == "resunet-ds":
        _parser().parse_args(arguments)
    elif program in NNUNET:
        parse_with_nnunet(words)
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", MAKEFILE, re.MULTILINE)
    elif program == "pip":
        for extra in re.findall(r"\[(\w+)\]", " ".join(arguments)):
            assert extra in PYPROJECT["project"]["optional-dependencies"]
    elif program in ("python", "python3"):
        assert arguments[0] == "-m" and importlib.util.find_spec(arguments[1])
    else:
        assert program in OTHERS


@pytest.mark.parametrize("block", [*blocks("bash", ""), *EXAMPLES], ids=lambda block: block.place)
def test_every_command_takes_its_arguments(block):
    found = list(commands(block.code))
    assert found
    for words in found:
        try:
            check(words)
        except SystemExit:  # argparse has said why
            pytest.fail(" ".join(words))


@pytest.mark.parametrize(
    "words",
    [
        ["resunet-ds", "convert", "/data", "-d", "137", "--no-such-flag"],
        ["resunet-ds", "no-such-command"],
        ["nnUNetv2_train", "137", "3d_fullres", "0", "--no-such-flag"],
        ["make", "no-such-target"],
        ["pip", "install", ".[no_such_extra]"],
        ["no-such-program"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_found_out(words, capsys):
    with pytest.raises((SystemExit, AssertionError)):
        check(words)


def test_commands_in_the_text_have_their_flags():
    known = {name: flags_of(name) for name in COMMANDS}
    for page, (name, *words) in inline_commands():
        if RUNNING_TEXT.search(name):
            continue
        assert name in COMMANDS, page
        for flag in words:
            if flag.startswith("-"):
                assert flag.rstrip(",.;") in known[name], (page, name, flag)


def flags_of(name):
    (subcommands,) = _parser()._subparsers._group_actions
    return set(subcommands.choices[name]._option_string_actions)


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.place)
def test_json_is_what_the_code_reads(block):
    content = json.loads(block.code)
    if SECTION in content:
        Recipe.from_plans(content)
    elif "steps" in content:
        PostprocessingConfig.from_mapping(content)
    else:
        pytest.fail("say here what reads it")


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.place)
def test_toml_describes_an_edition(block, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(block.code, encoding="utf-8")
    assert read_custom_edition(file).suffixes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_tested(page):
    found = blocks_of(page)
    assert {block.language for block in found} <= {"bash", "python", "json", "toml", "text", ""}
    assert len(re.findall("^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)) == 2 * len(found)
