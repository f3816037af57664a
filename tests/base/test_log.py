"""One logger: silent from Python, what matters on the command line, more with -v."""

import ast
import logging
import warnings
from pathlib import Path

import pytest

from nnunet_resunet_ds.base.log import LOG, shown
from nnunet_resunet_ds.cli import COMMANDS, main

PROJECT = Path(__file__).parents[2]
LIBRARY = [
    path
    for package in ("nnunet_resunet_ds", "dataset_conversion", "postprocessing")
    for path in (PROJECT / package).rglob("*.py")
    if path.parent.name != "commands" and path.name not in ("cli.py", "__main__.py")
]


def test_from_python_nothing_is_shown(capfd):
    LOG.info("decided")
    LOG.debug("detail")
    logging.getLogger("nnunet_resunet_ds").error("bad")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("verbose", "lines"), [(False, 3), (True, 4)])
def test_levels_on_the_command_line(verbose, lines, capsys):
    with shown(verbose=verbose):
        LOG.debug("reading a.nii.gz")
        LOG.info("3 cases")
        LOG.warning("of another dataset")
        LOG.error("failed: fold 3")
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", lines)
    if not verbose:
        assert err.splitlines() == ["3 cases", "warning: of another dataset", "error: failed: fold 3"]
    LOG.info("after")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verbose", [False, True])
def test_what_packages_warn_developers_of_is_for_v(verbose):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with shown(verbose=verbose):
            warnings.warn("for developers", FutureWarning, stacklevel=1)
    assert len(caught) == verbose


def test_a_warning_is_shown_once_and_a_note_as_often_as_it_comes(capsys):
    with shown(verbose=False):
        for _ in range(3):
            LOG.warning("out of memory on %s", "cuda")
            LOG.info("again")
    assert capsys.readouterr().err.splitlines() == ["warning: out of memory on cuda", "again", "again", "again"]


def test_every_subcommand_takes_v(cohort, raw, capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "-v, --verbose" in capsys.readouterr().out
    assert main(["convert", str(cohort), "-d", "137", "-v"]) == 0
    said = capsys.readouterr().err
    assert said.count("reading ") >= 2 and "INFO 2 cases, read as BraTS 2021" in said


def test_the_library_prints_nothing():
    """Output of the library is what it returns and what it logs."""
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "tqdm.write", "sys.stdout.write", "sys.stderr.write") or (
                    path.name == "log.py"
                ), (path, node.lineno)


def test_there_is_one_logger():
    names = [
        (path.name, ast.unparse(node))
        for path in LIBRARY
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("logging.getLogger", "getLogger")
    ]
    dask_s_is_silenced = ("scheduler.py", "logging.getLogger('distributed')")
    assert sorted(names) == [("log.py", "logging.getLogger('nnunet_resunet_ds')"), dask_s_is_silenced]
