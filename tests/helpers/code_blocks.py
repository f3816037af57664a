"""Code blocks of the documentation, and the commands in those of the shell."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_ASSIGNMENT = re.compile(r"(\w+)=(.*)")
_LOOP = re.compile(r"for (\w+) in (\S+) .*; do")
_INNER_COMMAND = re.compile(r'"\$\((.*)\)"')


class Block(NamedTuple):
    """A code block; its place is ``PAGE:LINE``."""

    place: str
    language: str
    code: str


def blocks(*languages):
    """Return the blocks of these languages, page after page."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            f"{page.relative_to(PROJECT)}:{text[: found.start()].count(chr(10)) + 1}", found["language"], found["code"]
        )
        for found in _FENCE.finditer(text)
    ]


def commands(code):
    """Yield the words of each command; a loop is gone through once, with the first of its values."""
    variables = {}
    for line in code.replace("\\\n", " ").splitlines():
        loop = _LOOP.match(line.strip())
        if loop:
            variables[loop[1]] = loop[2]
            continue
        for part in re.split(r" && | ; ", _INNER_COMMAND.sub(r"&& \1", line)):
            words = [_VARIABLE.sub(lambda name: variables.get(name[1], name[1]), word) for word in words_of(part)]
            while words and (assigned := _ASSIGNMENT.fullmatch(words[0])):
                variables[assigned[1]] = assigned[2]
                del words[0]
            if words and words != ["done"]:
                yield words


def words_of(line):
    return shlex.split(line, comments=True)


def inline_commands():
    """Yield page and words of each command of ours that stands in a line of text."""
    for page in PAGES:
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        for code in re.findall(r"`(resunet-ds [^`]+)`", text):
            yield page.name, code.split()[1:]
