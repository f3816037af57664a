"""That installing is enough: in fresh processes, from another folder, and in spawned workers."""

import json
import os
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

from nnunet_resunet_ds.discovery import OPT_OUT_VARIABLE, SEARCH_PATH_VARIABLE, register, trainer_folder

PROJECT = Path(__file__).parents[1]
FIND = "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"


def clean_environment(**variables):
    hidden = (SEARCH_PATH_VARIABLE, OPT_OUT_VARIABLE, "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name not in hidden} | variables


def run_python(code, cwd, python=sys.executable, **variables):
    """Run code in a fresh Python and return the last line it printed, or what it raised."""
    done = subprocess.run(
        [python, "-c", textwrap.dedent(code)],
        cwd=cwd,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]


def test_entries_of_the_user_stay_in_front():
    environment = {SEARCH_PATH_VARIABLE: os.pathsep.join(["/mine", "/other"])}
    register(environment)
    assert environment[SEARCH_PATH_VARIABLE].split(os.pathsep) == ["/mine", "/other", trainer_folder()]
    register(environment)  # a child process inherits it
    assert environment[SEARCH_PATH_VARIABLE].split(os.pathsep) == ["/mine", "/other", trainer_folder()]


@pytest.mark.parametrize("environment", [{}, {SEARCH_PATH_VARIABLE: ""}])
def test_without_entries_ours_is_the_only_one(environment):
    register(environment)
    assert environment == {SEARCH_PATH_VARIABLE: trainer_folder()}


def test_opting_out_changes_nothing():
    environment = {OPT_OUT_VARIABLE: "1"}
    register(environment)
    assert environment == {OPT_OUT_VARIABLE: "1"}


def test_the_scanned_folder_holds_the_shim_alone():
    assert [path.name for path in Path(trainer_folder()).glob("*.py")] == ["resunet_ds_trainers.py"]


def test_nnunet_finds_the_trainer_in_a_fresh_process(tmp_path):
    assert run_python(FIND + "print(find('ResUNetDSTrainer').__module__)", tmp_path) == "nnunet_resunet_ds.trainer"


def test_trainers_of_the_user_are_found_next_to_ours_and_win(tmp_path):
    mine = "import nnunet_resunet_ds.trainer as ours\nclass {}(ours.ResUNetDSTrainer): pass\n"
    (tmp_path / "mine.py").write_text(mine.format("Mine"))
    variables = {SEARCH_PATH_VARIABLE: str(tmp_path)}
    both = FIND + "print(*[find(name).__module__ for name in ('Mine', 'ResUNetDSTrainer')])"
    assert run_python(both, "/", **variables) == "mine nnunet_resunet_ds.trainer"
    (tmp_path / "mine.py").write_text(mine.format("ResUNetDSTrainer"))
    assert run_python(FIND + "print(find('ResUNetDSTrainer').__module__)", "/", **variables) == "mine"


WITHOUT_OUR_PACKAGE = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name == "nnunet_resunet_ds":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Missing())
for name in [name for name in sys.modules if name.startswith("nnunet_resunet_ds")]:
    del sys.modules[name]
"""


@pytest.mark.long
def test_another_environment_that_inherits_the_path_is_not_broken(tmp_path):
    """Where our package is missing, nnU-Net's search goes on to the folders behind ours."""
    trainer = (
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\nclass Behind(nnUNetTrainer): pass\n"
    )
    (tmp_path / "behind.py").write_text(trainer)
    path = os.pathsep.join([trainer_folder(), str(tmp_path)])
    code = WITHOUT_OUR_PACKAGE + FIND + "print(find('Behind').__module__)"
    assert run_python(code, "/", **{SEARCH_PATH_VARIABLE: path}) == "behind"


@pytest.mark.long
def test_opting_out_hides_the_trainer(tmp_path):
    line = run_python(FIND + "find('ResUNetDSTrainer')", tmp_path, **{OPT_OUT_VARIABLE: "1"})
    assert "Could not find requested nnunet trainer ResUNetDSTrainer" in line


def test_the_env_line_brings_it_back(tmp_path):
    command = f'eval "$({Path(sys.executable).parent}/resunet-ds env)"; echo "$nnUNet_extTrainer"'
    mine = clean_environment(**{SEARCH_PATH_VARIABLE: "/mine", OPT_OUT_VARIABLE: "1"})
    done = subprocess.run(["bash", "-c", command], env=mine, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == f"/mine:{trainer_folder()}"


@pytest.mark.long
def test_spawned_workers_find_and_unpickle_the_trainer(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(f"""
        import multiprocessing
        {FIND.strip()}
        def found(trainer):
            return find(trainer.__name__) is trainer
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(found, (find("ResUNetDSTrainer"),)))
        """)
    )
    done = subprocess.run([sys.executable, script], env=clean_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("True")


def test_start_up_imports_nothing_heavy(tmp_path):
    modules = json.loads(run_python("import sys, json; print(json.dumps(sorted(sys.modules)))", tmp_path))
    ours = [name for name in modules if name.startswith("nnunet_resunet_ds")]
    assert ours == ["nnunet_resunet_ds", "nnunet_resunet_ds.discovery"]
    assert "torch" not in modules and "numpy" not in modules


def build_wheel(folder, editable):
    """Build with the hatchling of this environment, so that nothing is fetched; return the wheel."""
    hook = "build_editable" if editable else "build_wheel"
    code = f"from hatchling import build; build.{hook}({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=clean_environment(), check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.long
@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_installing_registers_the_folder_in_a_fresh_environment(tmp_path, editable):
    """Without dependencies, which nothing here imports: seconds instead of minutes."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    (tmp_path / "dist").mkdir()
    wheel = build_wheel(tmp_path / "dist", editable)
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(install, check=True, env=clean_environment())
    code = f"import os; print(os.environ['{SEARCH_PATH_VARIABLE}'])"
    folder = Path(run_python(code, tmp_path, python))
    installed = run_python("import nnunet_resunet_ds; print(nnunet_resunet_ds.__file__)", tmp_path, python)
    assert folder == Path(installed).parent / "nnunet_trainers"
    assert (folder / "resunet_ds_trainers.py").is_file()
    assert (folder.is_relative_to(PROJECT / "nnunet_resunet_ds")) == editable
    assert run_python(code, tmp_path, python, **{SEARCH_PATH_VARIABLE: "/mine"}) == f"/mine{os.pathsep}{folder}"
