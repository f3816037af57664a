"""The file of choices: read, damaged, refused by the disk, and written by several processes."""

import json
import os
import subprocess
import sys
import threading

import pytest

from nnunet_resunet_ds.base.locks import in_turn, try_lock
from nnunet_resunet_ds.compute import kept_choices
from nnunet_resunet_ds.compute.kept_choices import Choice, choices_file, keep_choice, kept_choice, measuring_in_turn

ASKED, OTHER = {"network": "a", "machine": "m"}, {"network": "b", "machine": "m"}
CHOICE = Choice("bf16", "it takes 1 s and 0.5 s", "2026-11-27")


@pytest.fixture(autouse=True)
def file(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_choices, "_known", {})
    return choices_file()


def forget():
    """Be another process."""
    kept_choices._known.clear()


def test_what_is_kept_is_found_by_other_processes_and_for_this_question_alone(file):
    assert kept_choice(ASKED) is None and not file.exists()
    keep_choice(ASKED, CHOICE)
    forget()
    assert kept_choice(ASKED) == CHOICE and kept_choice(OTHER) is None
    assert list(file.parent.iterdir()) == [file]


def test_choices_stand_side_by_side_and_a_new_one_takes_the_place_of_the_old(file):
    newer = Choice("fp32", "measured again", "2026-11-28")
    for asked, choice in ((ASKED, CHOICE), (OTHER, CHOICE), (ASKED, newer)):
        keep_choice(asked, choice)
    forget()
    assert (kept_choice(ASKED), kept_choice(OTHER)) == (newer, CHOICE)
    assert len(json.loads(file.read_text())) == 2


def test_the_folder_is_the_usual_one(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert choices_file() == tmp_path / ".cache" / "nnunet-resunet-ds" / "number_formats.json"


DAMAGED = [
    b"", b"{", b"\xff\xfe", b"[" * 100000, b"null", b'{"asked": 3}', b'[3, null, "x", {}]', b'[{"asked": "a"}]',
    json.dumps([{"asked": ASKED, "number_format": "int8", "why": "w", "measured": "m"}]).encode(),
    json.dumps([{"asked": ASKED, "number_format": ["bf16"], "why": "w", "measured": "m"}]).encode(),
    json.dumps([{"asked": ASKED, "number_format": "bf16", "why": 7, "measured": "m"}]).encode(),
    json.dumps([{"asked": ASKED, "number_format": "bf16", "measured": "m"}]).encode(),
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_as_none_and_is_replaced(file, content):
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert kept_choice(ASKED) is None
    keep_choice(ASKED, CHOICE)
    forget()
    assert kept_choice(ASKED) == CHOICE


def test_one_damaged_entry_does_not_take_the_others_along(file):
    keep_choice(ASKED, CHOICE)
    file.write_text(json.dumps([3, *json.loads(file.read_text()), {"asked": {}}]))
    forget()
    assert kept_choice(ASKED) == CHOICE


def a_file_in_the_way(tmp_path):
    (tmp_path / "cache").write_text("not a folder")


def a_folder_in_the_way(tmp_path):
    choices_file().mkdir(parents=True)


@pytest.mark.parametrize("block", [a_file_in_the_way, a_folder_in_the_way])
def test_where_the_file_cannot_be_written_this_process_remembers(block, tmp_path):
    block(tmp_path)
    with measuring_in_turn():
        keep_choice(ASKED, CHOICE)
    assert kept_choice(ASKED) == CHOICE
    forget()
    assert kept_choice(ASKED) is None


def test_a_full_or_read_only_disk_is_no_error(monkeypatch):
    def refuse(content, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(kept_choices, "write_json", refuse)
    keep_choice(ASKED, CHOICE)
    assert kept_choice(ASKED) == CHOICE and not choices_file().exists()


def test_a_user_without_a_home_is_no_error(monkeypatch):
    def no_home():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(kept_choices.Path, "home", no_home)
    with measuring_in_turn():
        keep_choice(ASKED, CHOICE)
    assert choices_file() is None and kept_choice(ASKED) == CHOICE


def test_one_process_measures_while_others_wait(file):
    """Another process has its turn: this one waits until that ends, and leaves no file."""
    file.parent.mkdir(parents=True)
    code = (
        "import sys\nfrom nnunet_resunet_ds.compute.kept_choices import measuring_in_turn\n"
        "with measuring_in_turn():\n    print('mine', flush=True)\n    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "mine\n"
        order = []

        def wait():
            with measuring_in_turn():
                order.append("mine")

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and order == []
        other.communicate("done\n")
        waiting.join(30)
    assert order == ["mine"] and list(file.parent.iterdir()) == []


def test_nobody_waits_for_ever(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert try_lock(descriptor)
        with in_turn(tmp_path, seconds=0.0):
            pass
    finally:
        os.close(descriptor)
