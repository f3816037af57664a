"""What a user can repair, in nnU-Net's training command: one line and exit code 2. From Python it is raised."""

import errno
import inspect
import json
import os
import subprocess
import sys

import pytest
import torch
from nnunetv2.run import run_training
from stock_runs import command
from trainers import small, trainer

from nnunet_resunet_ds.base.errors import InputError, TrainingError
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training import one_line_errors
from nnunet_resunet_ds.training.checkpoint import checkpoint_names

STOCK = ["/somewhere/bin/nnUNetv2_train", run_training.__file__]
LONG = pytest.mark.long
OTHERS = ["/somewhere/bin/resunet-ds", "/somewhere/run_training.py", "-c", ""]


@pytest.fixture
def planned(dataset, nnunet_folders):
    """A dataset as the command needs it before any step, with small plans and plans of another dataset."""
    plans, _, folder = dataset
    (folder / "nnUNetPlans_3d_fullres").mkdir()
    (folder / "nnUNetPlans_3d_fullres" / "BraTS2021_00000.b2nd").touch()
    for name, other in (("Small", {}), ("Foreign", {"dataset_name": "Dataset138_Other"})):
        content = {**small(plans), "plans_name": name, **other}
        content.pop("continue_training")
        (folder / f"{name}.json").write_text(json.dumps(content))
    fold = nnunet_folders / "nnUNet_results" / folder.name / "ResUNetDSTrainer__Small__3d_fullres" / "fold_0"
    fold.mkdir(parents=True)
    return fold


def train(fold, *words, program=("nnUNetv2_train",)):
    program = command(*program) if len(program) == 1 else program
    return subprocess.run(
        [*program, "137", "3d_fullres", fold, "-tr", "ResUNetDSTrainer", "-device", "cpu", *words],
        env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fold", "words", "said"),
    [
        ("5", ["-p", "Small"], ["fold 5 is not there: nnU-Net makes folds 0 to 4"]),
        pytest.param("0", ["-p", "Foreign"], ["the plans Foreign are for Dataset138_Other, and "], marks=LONG),
        ("0", ["-p", "Small", "--c"], ["checkpoint_latest.pth: damaged", "checkpoint_best.pth: damaged"]),
        pytest.param("0", ["-p", "Small", "--val"], ["checkpoint_final.pth: damaged"], marks=LONG),
    ],
    ids=["fold", "plans", "continue", "validate"],
)
def test_the_stock_command_says_what_is_wrong_and_no_more(planned, fold, words, said):
    names = (checkpoint_names.FINAL,) if "--val" in words else (checkpoint_names.LATEST, checkpoint_names.BEST)
    for name in names:
        (planned / name).write_bytes(b"no checkpoint")
    done = train(fold, *words)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("nnUNetv2_train: error: ")]
    assert len(lines) == len(said) and all(part in line for part, line in zip(said, lines, strict=True))
    assert "Traceback" not in done.stdout + done.stderr


@LONG
def test_nnunets_own_file_does_so_too(planned):
    done = train("5", "-p", "Small", program=(sys.executable, run_training.__file__))
    assert (done.returncode, done.stderr.count("nnUNetv2_train: error: fold 5 is not there")) == (2, 1), done.stderr
    assert "Traceback" not in done.stderr


@one_line_errors.one_line_errors()
def fail(error):
    raise error


ERRORS = [
    (InputError("a: is wrong\nb: is wrong, too"), "a: is wrong\nb: is wrong, too"),
    (TrainingError("the loss is nan"), "the loss is nan"),
    (PermissionError(errno.EACCES, "Permission denied", "/results"), "/results: Permission denied"),
    (OSError(errno.ENOSPC, "No space left on device"), "disk: No space left on device"),
]


@pytest.mark.parametrize(("error", "said"), ERRORS)
@pytest.mark.parametrize("program", STOCK)
def test_what_a_user_can_repair_is_a_line_a_problem(monkeypatch, capsys, program, error, said):
    monkeypatch.setattr(sys, "argv", [program])
    with pytest.raises(SystemExit) as stopped:
        fail(error)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "".join(f"nnUNetv2_train: error: {line}\n" for line in said.split("\n"))


@pytest.mark.parametrize("error", [error for error, _ in ERRORS])
@pytest.mark.parametrize("program", OTHERS)
def test_elsewhere_it_is_raised(monkeypatch, capsys, program, error):
    monkeypatch.setattr(sys, "argv", [program])
    with pytest.raises(type(error)) as raised:
        fail(error)
    assert raised.value is error
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error", [ValueError("our fault"), ConnectionResetError(errno.ECONNRESET, "reset"), OSError("what?")]
)
def test_what_no_user_can_repair_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(sys, "argv", STOCK[:1])
    with pytest.raises(type(error)) as raised:
        fail(error)
    assert raised.value is error


@pytest.mark.parametrize(("error", "waits"), [(InputError("same on all"), True), (TrainingError("here"), False)])
def test_other_ranks_let_the_first_say_what_all_find(monkeypatch, capsys, error, waits):
    """It then ends them while they wait; where it has found nothing, they say it themselves."""
    waited = []
    monkeypatch.setattr(sys, "argv", STOCK[:1])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(one_line_errors.time, "sleep", waited.append)
    with pytest.raises(SystemExit) as stopped:
        fail(error)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.partition(": ")[2].strip() == f"error: {error}"
    assert len(waited) == waits


def test_nnunet_still_reads_the_parameters_of_the_trainer(dataset):
    names = ["self", "plans", "configuration", "fold", "dataset_json", "device"]
    assert list(inspect.signature(ResUNetDSTrainer.__init__).parameters) == names
    assert list(trainer(dataset).my_init_kwargs) == names[1:]


class Loader:
    """Of batches that cannot be trained with; counts how often it is told to end."""

    def __init__(self, error):
        self.error, self.ended = error, 0

    def __next__(self):
        raise self.error

    def _finish(self):
        self.ended += 1


@pytest.mark.parametrize("program", [STOCK[0], OTHERS[0]])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full", "file"), RuntimeError("a worker died")])
def test_loaders_are_closed(dataset, monkeypatch, capsys, error, program):
    monkeypatch.setattr(sys, "argv", [program])
    made = trainer(dataset, small(dataset[0]))
    loaders = made.dataloader_train, made.dataloader_val = Loader(error), Loader(error)
    monkeypatch.setattr(made, "on_train_start", lambda: None)
    monkeypatch.setattr(made, "on_epoch_start", lambda: None)
    monkeypatch.setattr(made, "on_train_epoch_start", lambda: None)
    made.optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters())
    made.lr_scheduler = type("Schedule", (), {"should_stop": False})
    with pytest.raises((SystemExit, OSError, TrainingError)) as stopped:
        made.run_training()
    assert (stopped.type is SystemExit) == (program in STOCK) == ("error: " in capsys.readouterr().err)
    assert [loader.ended for loader in loaders] == [1, 1]
