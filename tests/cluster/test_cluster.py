"""Work on the workers of a Dask scheduler, all of them processes of their own: the same results, whoever dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cluster_work
import pytest
import torch
from brats_files import make_case, without_times
from clusters import Cluster, until
from models import small_plans, write_model
from reports import make_cohort

from dataset_conversion import conversion
from nnunet_resunet_ds.base.errors import InputError, SchedulerLostError
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.cluster import connected

pytestmark = pytest.mark.long
PLAIN = ("-device", "cpu", "--precision", "fp32")
"""What ``auto`` takes is measured by each process for itself."""
_PATCHED = """
import importlib.metadata as metadata
version = metadata.version
def patched(name):
    if name in ("nnunet_resunet_ds", "nnunet-resunet-ds"):
        {answer}
    return version(name)
metadata.version = patched
"""
SITECUSTOMIZE = {
    "another version": _PATCHED.format(answer="return '0.0.1'"),
    "not installed": _PATCHED.format(answer="raise metadata.PackageNotFoundError(name)"),
    "broken": "import sys; sys.modules['nnunet_resunet_ds'] = None",
}
"""What makes a worker's Python one that does not fit."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.add_worker()
        made.add_worker()
        yield made
    finally:
        made.close()


@pytest.fixture
def own_cluster(tmp_path):
    """A scheduler without workers, to do harm to."""
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def one_thread():
    """Sums in the order of a worker's, which has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def content(folder):
    """File → bytes, without what tells the time."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        if path.is_file():
            found[str(path.relative_to(folder))] = without_times(path.read_bytes())
    if "run.json" in found:
        run = json.loads((folder / "run.json").read_bytes())
        for entry in (run, *run["cases"].values()):
            for name in ("network_seconds", "device", "precision"):
                entry.pop(name, None)
            entry.get("written", {}).pop("modified_ns", None)
        found["run.json"] = run
    return found


# ---- the same results ----


def ran_both_ways(words, output, cluster, capsys):
    """Run a command here and on the cluster; return the output's content each time, and what was said."""
    results = []
    for more in ([], ["--scheduler", cluster.address]):
        with one_thread():
            assert main([*map(str, words), *more]) == 0, capsys.readouterr().err
        results.append(content(output))
        said = capsys.readouterr()
        if not more:
            shutil.rmtree(output) if output.is_dir() else output.unlink()
    assert len(results[0]) > 0
    return (*results, said)


def test_convert(cluster, cohort, raw, capsys):
    here, there, said = ran_both_ways(["convert", cohort, "-d", "137"], raw / "Dataset137_BraTS2021", cluster, capsys)
    assert here == there
    assert f"{cluster.address}: 2 workers" in said.err and "2/2" in said.err


def test_predict_postprocess_and_evaluate(cluster, cohort, model, tmp_path, capsys):
    predicted, labels, metrics = (tmp_path / name for name in ("out", "labels", "metrics.json"))
    predict = ["predict", "-i", cohort, "-o", predicted, "-m", model, "--save-probabilities", *PLAIN]
    here, there, _ = ran_both_ways(predict, predicted, cluster, capsys)
    assert here == there and len([name for name in here if name.endswith(".npz")]) == 2
    here, there, _ = ran_both_ways(["postprocess", "-i", predicted, "-o", labels], labels, cluster, capsys)
    assert here == there
    evaluate = ["evaluate", "-ref", cohort, "-pred", labels, "-o", metrics, "--pred-labels", "nnunet"]
    here, there, _ = ran_both_ways(evaluate, metrics, cluster, capsys)
    assert here == there


def test_a_worker_that_has_read_a_model_reads_it_again_when_it_is_trained_further(
    cluster, cohort, model, dataset, tmp_path, capsys
):
    labels = []
    for number, (folds, more) in enumerate([((0,), True), ((1,), True), ((1,), False)]):
        out = tmp_path / f"out{number}"
        write_model(model, small_plans(dataset[0]), dataset[1], folds)
        if folds != (0,):
            shutil.copy(model / "fold_1" / "checkpoint_final.pth", model / "fold_0" / "checkpoint_final.pth")
        words = ["predict", "-i", cohort, "-o", out, "-m", model, "-f", "0", "--no-tta", "--save-probabilities", *PLAIN]
        with one_thread():
            assert main([*map(str, words), *(["--scheduler", cluster.address] if more else [])]) == 0
        labels.append({path.name: path.read_bytes() for path in out.glob("*.npz")})
    assert labels[1] == labels[2] != labels[0] and len(labels[0]) == 2
    assert f"on the workers of {cluster.address}: no flips" in capsys.readouterr().out


def test_report(cluster, tmp_path, capsys):
    folder = make_cohort(tmp_path)
    report = tmp_path / "report.html"
    words = ["report", "-i", folder / "raw", "-ref", folder / "raw", "-pred", folder / "labels", "-o", report]
    here, there, _ = ran_both_ways(words, report, cluster, capsys)
    assert here == there


def test_tune(cluster, trained, capsys):
    folder, _ = trained
    results = []
    for more in ([], ["--scheduler", cluster.address]):
        with one_thread():
            assert main(["tune", "-m", str(folder), *PLAIN, *more]) == 0, capsys.readouterr().err
        results.append(content(folder))
        shutil.rmtree(folder / "tuning")
    assert results[0] == results[1]
    assert {"postprocessing.json", "tuning.csv", "tuning.png"} <= results[0].keys()


def test_relative_paths_and_a_cluster_of_this_machine(cohort, raw, monkeypatch, capsys):
    monkeypatch.chdir(cohort.parent)
    assert main(["convert", cohort.name, "-d", "137", "--scheduler", "local:1", "-v"]) == 0
    assert "local:1: 1 worker" in capsys.readouterr().err


def test_continue_and_the_errors_of_cases(cluster, cohort, model, tmp_path, capsys):
    make_case(cohort, "BraTS2021_00009", seed=9)
    damaged = cohort / "BraTS2021_00003" / "BraTS2021_00003_t1.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    out = tmp_path / "out"
    words = ["predict", "-i", str(cohort), "-o", str(out), "-m", str(model), "--no-tta", "--scheduler", cluster.address]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "BraTS2021_00003_t1.nii.gz" in error and "1 case failed; correct it and run again with --continue" in error
    assert "error" in json.loads((out / "run.json").read_text())["cases"]["BraTS2021_00003"]
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    damaged.write_bytes(whole)
    assert main([*words, "--continue"]) == 0
    assert "wrote 1 label map to" in capsys.readouterr().out
    assert len(written) == 2 and all((out / name).stat().st_mtime_ns == when for name, when in written.items())


# ---- who dies ----


def test_a_worker_that_is_killed_costs_its_case_a_retry_and_nothing_else(own_cluster, tmp_path):
    for _ in range(2):
        own_cluster.add_worker()
    folders = [tmp_path / f"case{number}" for number in range(20)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        if number != 7:
            (folder / "0").touch()  # tried before: does not kill
    with connected(own_cluster.address) as executor:
        outcomes = for_each(folders, cluster_work.die_once, "test", executor, name=lambda folder: folder.name)
    # The one that killed its worker at the first try, too; a result that lay in the dead worker is made again.
    assert min(outcomes) == 1 and sum(outcomes) <= 30


def test_a_case_that_kills_every_worker_is_reported_and_the_others_are_done(own_cluster):
    for _ in range(2):
        own_cluster.add_worker()
    with connected(own_cluster.address) as executor:
        outcomes = for_each(list(range(8)), cluster_work.die_at, "test", executor, name=lambda number: f"case {number}")
    assert str(outcomes.pop(3)).startswith("case 3: each worker that took it died; see the workers' logs")
    assert outcomes == [0, 1, 2, 4, 5, 6, 7]


def test_a_scheduler_that_is_killed_is_named_at_once(own_cluster):
    own_cluster.add_worker()
    with connected(own_cluster.address) as executor:
        threading.Timer(1.0, own_cluster.kill_scheduler).start()
        with pytest.raises(SchedulerLostError, match=f"the scheduler {own_cluster.address} is gone; start it again"):
            for_each([0.2] * 500, cluster_work.sleep, "test", executor)


def test_a_conversion_whose_scheduler_is_killed_goes_on_with_the_rest(own_cluster, tmp_path, raw, capsys, monkeypatch):
    n_cases = 120
    for number in range(n_cases):
        make_case(tmp_path / "train", f"BraTS2021_{number:05d}", seed=number)
    own_cluster.add_worker()
    staging = raw / ".Dataset137_BraTS2021.partial" / ".finished"

    def kill_in_the_middle():
        until(lambda: staging.is_dir() and len(list(staging.iterdir())) > 5)
        own_cluster.kill_scheduler()

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    words = ["convert", str(tmp_path / "train"), "-d", "137"]
    assert main([*words, "--scheduler", own_cluster.address]) == 2
    killer.join()
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1 and "is gone; start it again and run this again: finished cases are kept" in errors[0]
    os.killpg(own_cluster.workers[0].pid, signal.SIGKILL)
    finished, written = len(list(staging.iterdir())), []
    assert 5 < finished < n_cases
    write_case = conversion.write_case
    monkeypatch.setattr(conversion, "write_case", lambda *words: (written.append(words), write_case(*words))[1])
    assert main(words) == 0
    assert len(written) == n_cases - finished
    assert len(list((raw / "Dataset137_BraTS2021" / "labelsTr").iterdir())) == n_cases


def test_a_slow_worker_gets_less(own_cluster):
    own_cluster.add_worker()
    own_cluster.add_worker(SLOW="1")
    with connected(own_cluster.address) as executor:
        until(lambda: len(executor.client.scheduler_info()["workers"]) == 2)
        done = Counter(for_each(list(range(100)), cluster_work.worker_of, "test", executor))
    assert sum(done.values()) == 100
    assert min(done.values()) < 20


def test_ctrl_c_leaves_what_has_not_begun(cluster, tmp_path):
    code = (
        "import signal, sys, cluster_work\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from nnunet_resunet_ds.cluster import connected\n"
        "from nnunet_resunet_ds.base.parallel import for_each\n"
        "with connected(sys.argv[1]) as executor:\n"
        "    print('begun', flush=True)\n"
        "    for_each([0.5] * 400, cluster_work.sleep, 'test', executor)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, cluster.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(cluster_work.__file__).parent)},
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    with connected(cluster.address) as executor:  # and the workers are free for others
        assert for_each([0.0], cluster_work.sleep, "test", executor) == [0.0]


# ---- what is found out before anything is begun ----


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("another version", "has nnunet_resunet_ds 0.0.1, and here is"),
        ("not installed", "has no nnunet_resunet_ds, and"),
        ("broken", "a worker cannot load nnunet_resunet_ds"),
    ],
)
def test_a_worker_with_other_versions_is_refused(own_cluster, cohort, raw, capsys, kind, message):
    folder = own_cluster.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE[kind])
    own_cluster.add_worker(PYTHONPATH=str(folder))
    assert main(["convert", str(cohort), "-d", "137", "--scheduler", own_cluster.address]) == 2
    error = capsys.readouterr().err
    assert message in error and ("install the same there" in error or "resunet-ds doctor there" in error)
    assert list(raw.iterdir()) == []


def test_other_versions_of_what_decides_results_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "1.0")
    with pytest.raises(InputError, match=r"has torch .*, and here is 1\.0"), connected(cluster.address):
        pass


def test_a_worker_that_sees_other_files_is_refused(own_cluster, tmp_path, cohort, raw, capsys):
    """A worker in a mount namespace of its own, with an empty file system over each folder: another machine, say."""
    hidden = " && ".join(f"mount -t tmpfs none {folder}" for folder in (cohort, raw))
    alone = ["unshare", "--mount", "sh", "-c", f'{hidden} && exec "$@"', "sh"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    own_cluster.add_worker(prefix=alone)
    assert main(["convert", str(cohort / "BraTS2021_00000"), "-d", "137", "--scheduler", own_cluster.address]) == 2
    error = capsys.readouterr().err
    assert f"does not see {cohort / 'BraTS2021_00000'}" in error
    assert f"does not see what is written to {raw}" in error and "as on a shared file system" in error
    assert not any(path.name.endswith(".seen") for path in raw.iterdir())


def test_no_workers_no_scheduler_no_address_no_dask(own_cluster, cohort, raw, capsys, monkeypatch):
    monkeypatch.setattr("nnunet_resunet_ds.cluster.scheduler.SECONDS_TO_ANSWER", 1)
    answers = {
        own_cluster.address: f"has no worker; start some, on any machine: dask worker {own_cluster.address}",
        "tcp://127.0.0.1:1": "no Dask scheduler answers there; start it with: dask scheduler",
        "nowhere": "is no address such as tcp://HOST:8786, nor local:N",
        "local:0": "is no address such as tcp://HOST:8786, nor local:N",
    }
    for address, answer in answers.items():
        assert main(["convert", str(cohort), "-d", "137", "--scheduler", address]) == 2
        assert f"--scheduler {address}: {answer}" in capsys.readouterr().err
    for module in [name for name in sys.modules if name.startswith("nnunet_resunet_ds.cluster")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["convert", str(cohort), "-d", "137", "--scheduler", "local:1"]) == 2
    assert "pip install 'nnunet-resunet-ds[cluster]'" in capsys.readouterr().err


# ---- hosts ----


@pytest.fixture
def hosts():
    """Three hosts, each a network namespace, on one bridge; yields words that run a command on a host."""
    names = [f"rds{os.getpid() % 10000}{letter}" for letter in "abc"]
    bridge = f"rds{os.getpid() % 10000}"
    commands = [
        f"ip link add {bridge} type bridge",
        f"ip addr add 10.213.7.1/24 dev {bridge}",
        f"ip link set {bridge} up",
    ]
    for number, name in enumerate(names):
        commands += [
            f"ip netns add {name}",
            f"ip link add {name}h type veth peer name {name}n",
            f"ip link set {name}h master {bridge}",
            f"ip link set {name}h up",
            f"ip link set {name}n netns {name}",
            f"ip -n {name} addr add 10.213.7.{number + 2}/24 dev {name}n",
            f"ip -n {name} link set {name}n up",
            f"ip -n {name} link set lo up",
        ]
    if not shutil.which("ip"):
        pytest.skip("no ip command here")
    try:
        if any(subprocess.run(command.split(), check=False, capture_output=True).returncode for command in commands):
            pytest.skip("no network namespaces here")
        yield [["ip", "netns", "exec", name] for name in names]
    finally:
        for command in (*(f"ip netns del {name}" for name in names), f"ip link del {bridge}"):
            subprocess.run(command.split(), check=False, capture_output=True)


def test_scheduler_and_workers_on_hosts_of_their_own(hosts, tmp_path, cohort, raw, capsys):
    there = Cluster(tmp_path, host="10.213.7.2", prefix=hosts[0])
    try:
        assert there.address.startswith("tcp://10.213.7.2:")
        for host in hosts[1:]:
            there.add_worker(prefix=host)
        assert main(["convert", str(cohort), "-d", "137", "--scheduler", there.address]) == 0, capsys.readouterr().err
        with connected(there.address) as executor:
            until(lambda: len(executor.client.scheduler_info()["workers"]) == 2)
            addresses = {address.split(":")[1] for address in executor.client.scheduler_info()["workers"]}
        assert addresses == {"//10.213.7.3", "//10.213.7.4"}
    finally:
        there.close()
