"""What an ablation amounts to: differences, words for them, tables, page and figure."""

import csv
import math

import monai
import numpy as np
import pytest
from ablations import finish, run_of, settings
from packaging.version import Version
from scipy import stats

from nnunet_resunet_ds.experiments.ablation.outcomes import finished_rows, rung_differences
from nnunet_resunet_ds.experiments.ablation.rungs import RUNGS, Training, trained_configuration
from nnunet_resunet_ds.experiments.ablation.summary import loss_curves, loss_figure, write_summary
from nnunet_resunet_ds.network.cost import count_cost

CASES = [f"case_{number}" for number in range(8)]


def of_seeds(of, rung, means, slope=0.0, fold=0):
    """Finish a run a seed whose cases scatter about a mean."""
    for seed, mean in enumerate(means, start=1):
        dice = {case: mean + slope * (number - 3.5) for number, case in enumerate(CASES)}
        finish(run_of(of, rung, seed, fold), dice)


@pytest.mark.parametrize(
    ("means", "slope", "words"),
    [
        ((0.80, 0.81, 0.80), 0.0, "higher"),
        ((0.60, 0.61, 0.60), 0.0, "lower"),
        ((0.60, 0.80, 0.73), 0.0, "none: within the spread of seeds"),
        ((0.71, 0.72, 0.71), 0.04, "none that the cases show"),
        ((0.90,), 0.0, "one seed: its spread is not known"),
    ],
)
def test_a_difference_is_called_what_it_is(dataset, means, slope, words):
    of = settings(dataset)
    of_seeds(of, "baseline", (0.70, 0.71, 0.70))
    of_seeds(of, "+depth", means, slope)
    compared = [one for one in rung_differences(finished_rows(of)) if one.rung == "+depth"]
    assert [one.region for one in compared] == ["WT", "TC", "ET"]
    assert {one.verdict for one in compared} == {words} and {one.n_seeds for one in compared} == {len(means)}


def test_differences_pair_cases_and_seeds_of_both(dataset):
    of = settings(dataset)
    random = np.random.default_rng(3)
    base, deep = random.uniform(0.4, 0.9, (2, 3, len(CASES)))
    for seed in (1, 2, 3):
        finish(run_of(of, "baseline", seed), dict(zip(CASES, base[seed - 1], strict=True)))
    for seed in (2, 3, 7):
        finish(run_of(of, "+depth", seed), dict(zip(CASES, deep[min(seed, 3) - 1], strict=True)))
    one = next(one for one in rung_differences(finished_rows(of)) if one.rung == "+depth")
    per_case = (deep[1:] - base[1:]).mean(axis=0)
    assert one.difference.mean == pytest.approx(per_case.mean()) and one.difference.n == len(CASES)
    assert one.difference.p_value == pytest.approx(stats.wilcoxon(per_case).pvalue)
    assert one.spread == pytest.approx(np.std((deep - base)[1:].mean(axis=1), ddof=1)) and one.n_seeds == 2


def test_the_same_case_in_two_folds_counts_twice_and_seeds_average_their_folds(dataset):
    of = settings(dataset)
    for fold in (0, 1):
        of_seeds(of, "baseline", (0.5, 0.5), fold=fold)
        of_seeds(of, "+depth", (0.6 + 0.1 * fold, 0.7 + 0.1 * fold), fold=fold)
    one = next(one for one in rung_differences(finished_rows(of)) if one.rung == "+depth")
    assert one.difference.n == 2 * len(CASES)
    assert one.difference.mean == pytest.approx(0.2) and one.spread == pytest.approx(np.std([0.15, 0.25], ddof=1))


def test_without_baseline_or_common_seed_nothing_is_compared(dataset):
    of = settings(dataset)
    finish(run_of(of, "+depth", seed=2), {"a": 0.5})
    assert rung_differences(finished_rows(of)) == []
    finish(run_of(of, "baseline", seed=1), {"a": 0.5})
    assert {one.rung for one in rung_differences(finished_rows(of))} == {"post-processing"}


def test_a_rung_is_compared_with_the_baseline_and_the_rung_below_and_a_system_with_the_whole_method(dataset):
    of = settings(dataset)
    for rung in ("baseline", "+deep-supervision", "+depth", "+residual", "UNETR"):
        finish(run_of(of, rung), {"a": 0.5})
    pairs = dict.fromkeys((one.rung, one.other) for one in rung_differences(finished_rows(of)))
    assert list(pairs) == [
        ("+deep-supervision", "baseline"), ("+depth", "baseline"), ("+depth", "+deep-supervision"),
        ("+residual", "baseline"), ("+post-processing", "baseline"), ("+post-processing", "+residual"),
        ("post-processing", "baseline"), ("UNETR", "baseline"), ("UNETR", "+post-processing"),
    ]  # fmt: skip


def test_rungs_that_share_a_training_differ_in_post_processing(dataset):
    of = settings(dataset)
    finish(run_of(of, "+residual"), {"none": {"a": 0.5}, "paper": {"a": 0.75}})
    found = {row.rung.name: row.outcomes[0].mean("ET", "dice") for row in finished_rows(of)}
    assert found == {"+residual": 0.5, "+post-processing": 0.75}


def test_costs_are_counted_for_the_network_that_is_trained(dataset):
    of = settings(dataset, patch_size=None, width=1.0)
    counted = {
        name: count_cost(trained_configuration(Training.of(RUNGS[name]), of, 0), 4, 3)
        for name in ("+residual", "UNETR")
    }
    # docs/understand/comparison.md; deep-supervision heads have parameters, and do not run in prediction
    assert counted["+residual"].parameters / 1e6 == pytest.approx(51.8, abs=0.05)
    assert counted["+residual"].flops / 1e12 == pytest.approx(2.78, abs=0.01)
    unused = 0 if Version(monai.__version__) >= Version("1.6") else 28.3  # cross-attention that MONAI had before
    assert counted["UNETR"].parameters / 1e6 == pytest.approx(102.5 + unused, abs=0.05)
    assert counted["UNETR"].flops / 1e12 == pytest.approx(0.37, abs=0.005)


@pytest.fixture
def written(dataset):
    of = settings(dataset)
    of_seeds(of, "baseline", (0.70, 0.72, 0.74))
    of_seeds(of, "+deep-supervision", (0.80, 0.82, 0.83))
    of_seeds(of, "UNet", (0.5,))
    return of, write_summary(of)


def test_the_table_has_mean_and_spread_costs_and_what_was_not_run(written):
    of, summary = written
    text = (of.folder / "table.md").read_text()
    spread = np.std([0.70, 0.72, 0.74], ddof=1)
    line = next(line for line in text.splitlines() if line.startswith("| baseline |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:5] == ["baseline", *[f"0.7200 ± {spread:.4f}"] * 3, "3"] and cells[7:] == ["7.5", "2", "900"]
    assert "| UNet | 0.5000 |" in text
    assert "Not run: +depth, +channels" in text and "ResUNetVAE, AttentionUNet, UNETR." in text
    assert "Versions: nnunet-resunet-ds 9.9." in text and "Hardware: 2 cores of test." in text
    assert "channels × 0.125" in text and "epochs 3" in text
    for table in summary.tables:
        assert all(len(row) == len(table.header) for row in table.rows)
    assert len(summary.tables[2].rows) == 10  # three of post-processing, which has the baseline's training


def test_the_csv_has_every_run_and_metric(written):
    of, _ = written
    rows = list(csv.DictReader((of.folder / "table.csv").open()))
    assert len(rows) == 10 * 3
    first = rows[0]
    assert (first["rung"], first["seed"], first["fold"], first["region"]) == ("baseline", "1", "0", "WT")
    assert float(first["dice"]) == pytest.approx(0.70) and float(first["lesion_dice"]) == 1.0
    assert int(first["parameters"]) > 0 and float(first["peak_memory_mib"]) == 900


def test_the_page_stands_alone_and_has_what_markdown_has(written):
    of, summary = written
    page = (of.folder / "report.html").read_text()
    assert "src=" not in page and "@import" not in page and "url(" not in page.replace("url(#", "")
    assert page.count("<table>") == 3 and page.count("<svg") == 1
    for table in summary.tables:
        assert f"<h2>{table.title}</h2>" in page
        assert all(f"<td>{cell.replace(chr(39), '&#39;')}</td>" in page for row in table.rows for cell in row)


def test_the_figure_shows_the_finest_head_of_every_run(written):
    of, _ = written
    rows = finished_rows(of)
    assert loss_curves(rows[0]).tolist() == pytest.approx(
        np.array([[1 / (epoch + s) for epoch in range(3)] for s in (1, 2, 3)])
    )
    axes = loss_figure(rows).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "baseline, n = 3",
        "+deep-supervision, n = 3",
    ]
    assert (of.folder / "validation_loss.png").is_file() and loss_figure(rows[:1]) is None


def test_a_training_that_stopped_early_has_a_shorter_curve(dataset):
    of = settings(dataset)
    finish(run_of(of, "baseline", 1), {"a": 0.5}, epochs=2)
    finish(run_of(of, "baseline", 2), {"a": 0.5}, epochs=4)
    curves = loss_curves(finished_rows(of)[0])
    assert curves.shape == (2, 4) and math.isnan(curves[0, 2]) and not np.isnan(curves[1]).any()


def test_nothing_is_written_where_nothing_is_finished(dataset):
    of = settings(dataset)
    assert write_summary(of).files == [] and not of.folder.exists()
