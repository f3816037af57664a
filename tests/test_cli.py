import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_conversion.splits import SEED
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.cli import COMMANDS, main
from nnunet_resunet_ds.ensembles.ensemble_folder import ENSEMBLE_METHODS
from nnunet_resunet_ds.evaluation.dice import EMPTY_REGIONS
from nnunet_resunet_ds.inference.sliding_window import TILE_STEP, TILES
from nnunet_resunet_ds.tuning.metrics import METRICS

COMMAND = Path(sys.executable).parent / "resunet-ds"


def test_help_and_version_load_nothing_heavy(tmp_path):
    """Counted, not timed: none of what takes seconds behind --help and --version."""
    for flag in ("--help", "--version"):
        code = f"""
import sys
from nnunet_resunet_ds.cli import main
try:
    main([{flag!r}])
finally:
    print(sorted({{"torch", "SimpleITK", "nnunetv2", "matplotlib"}} & set(sys.modules)), file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stderr.strip() == "[]"


def test_the_installed_command_answers(tmp_path):
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == f"resunet-ds {__version__}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_has_help_with_a_summary(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert COMMANDS[command].__doc__.strip().splitlines()[0] in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["convert"], ["plan", "-d", "x"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_values_that_help_names_without_loading_what_is_heavy_are_those_of_the_code():
    """The commands repeat some constants, so that --help does not import PyTorch for them."""
    chosen = {
        ("ensemble", "method"): ENSEMBLE_METHODS,
        ("tune", "metric"): METRICS,
        ("evaluate", "empty_regions"): tuple(EMPTY_REGIONS),
        ("predict", "tiles"): TILES,
        ("predict", "tile_step"): TILE_STEP,
        ("splits", "seed"): SEED,
    }
    for (command, name), expected in chosen.items():
        parser = argparse.ArgumentParser()
        COMMANDS[command].add_arguments(parser)
        (action,) = (action for action in parser._actions if action.dest == name)
        assert (action.choices or action.default) == expected, (command, name)


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys):
    shown = refused([], capsys)
    assert all(f"  {name} " in shown for name in ("predict", "convert", "doctor")) and "from a BraTS download" in shown


@pytest.mark.parametrize(("typed", "meant"), [("pedict", "predict"), ("Predict", "predict"), ("reprot", "report")])
def test_a_misspelt_command_is_answered_with_the_nearest(typed, meant, capsys):
    last = refused([typed], capsys).splitlines()[-1]
    assert f"{typed} is no command; did you mean resunet-ds {meant}?" in last and len(last) < 120


def test_a_word_that_is_near_no_command_gets_none(capsys):
    last = refused(["nonsense"], capsys).splitlines()[-1]
    assert "did you mean" not in last and "resunet-ds --help lists all" in last


@pytest.mark.parametrize("rest", [[], ["-o", "out"]])
@pytest.mark.parametrize("command", ["predict", "postprocess"])
def test_a_folder_without_its_flag_is_answered_with_what_to_type(command, rest, capsys):
    shown = refused([command, "cases", *rest], capsys)
    assert f"give the folder with -i: resunet-ds {command} -i cases -o OUTPUT" in shown.splitlines()[-1]
    assert f"usage: resunet-ds {command} " in shown


def test_a_misspelt_flag_is_answered_with_the_nearest(capsys):
    last = refused(["predict", "-i", "a", "-o", "b", "--overwite"], capsys).splitlines()[-1]
    assert last.endswith("unrecognized arguments: --overwite; did you mean --overwrite?")


def test_bad_input_exits_with_2_without_traceback(tmp_path):
    done = subprocess.run(
        [COMMAND, "postprocess", "-i", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("resunet-ds postprocess: error: ")
    assert "Traceback" not in done.stderr


def test_interrupting_is_no_traceback(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["env"], "run", interrupt)
    assert main(["env"]) == 130
    assert capsys.readouterr().err.strip() == "resunet-ds env: interrupted"


def test_running_out_of_memory_says_what_to_do(monkeypatch, capsys):
    def fill(_):
        raise MemoryError

    monkeypatch.setattr(COMMANDS["env"], "run", fill)
    assert main(["env"]) == 2
    assert "error: out of memory: end other programs" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback_and_asks_for_a_report(monkeypatch, capsys):
    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(COMMANDS["env"], "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["env"])
    assert "please report what follows, with what 'resunet-ds doctor --json' prints" in capsys.readouterr().err
