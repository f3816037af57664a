"""Compare label maps with the reference as a BraTS challenge does: Dice, HD95, lesion-wise Dice and HD95.

REFERENCE and PREDICTION are two files, two folders of CASE.nii.gz (labelsTr, labels), or raw BraTS case folders. Label
maps from resunet-ds predict and raw BraTS cases need nothing more. For others, run.json or dataset.json next to them
says what their label values mean; where neither does, the values are read as those of the protocol. The command prints
how it reads them. Give --ref-labels and --pred-labels to say it yourself.

Examples:
  resunet-ds evaluate -ref /data/BraTS2021_reference -pred labels -o metrics.json
  resunet-ds evaluate -ref labelsTr -pred labels -o metrics.json --csv metrics.csv --protocol brats2024-gli
  resunet-ds evaluate -ref labelsTr -pred labels -o metrics.json --compare other_labels
  resunet-ds evaluate -ref labelsTr -pred labels --protocol brats2026-met --by-sequences

To rank several systems as a challenge does: resunet-ds rank --help
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.commands.edition_arguments import add_label_arguments
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer
from nnunet_resunet_ds.commands.output_files import check_outputs, write_outputs

if TYPE_CHECKING:
    from nnunet_resunet_ds.evaluation.cohort_metrics import Evaluation
    from nnunet_resunet_ds.evaluation.pairs import Pairs
    from nnunet_resunet_ds.evaluation.protocols import Protocol
    from nnunet_resunet_ds.evaluation.sequences import Group

SUMMARY = "compare label maps with the reference, by the metrics of BraTS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-ref",
        dest="reference",
        type=Path,
        required=True,
        metavar="REFERENCE",
        help="label maps of experts: file or folder",
    )
    parser.add_argument(
        "-pred",
        dest="prediction",
        type=Path,
        required=True,
        metavar="PREDICTION",
        help="predicted label maps: file or folder",
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="JSON",
        help="write the metrics of every case and their statistics to this file",
    )
    parser.add_argument("--csv", type=Path, metavar="CSV", help="write the same as a table")
    parser.add_argument(
        "--lesions",
        type=Path,
        metavar="CSV",
        help="write a table of false and missed lesions: where each is, its volume, and its highest probability where "
        "CASE.npz lies next to the prediction",
    )
    add_label_arguments(parser)
    parser.add_argument(
        "--empty-regions",
        choices=("brats", "brats2026", "nan"),
        help="the score of an empty region. brats: Dice 1 and HD95 0 where reference and prediction are both empty, "
        "the penalty where one of them is. brats2026: no number where both are, the penalty where one is. nan: no "
        "number in both cases, as nnU-Net. Means leave out what has no number (default: what the challenge does, brats "
        "until 2025 and brats2026 in 2026)",
    )
    parser.add_argument(
        "--by-sequences",
        action="store_true",
        help="also give the means of the cases that had all sequences, of those without T2, and so on; predict "
        "--allow-missing notes in run.json what a case lacked",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        default=[],
        metavar="OTHER",
        help="also evaluate the label maps of other systems, and test the differences",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave out cases that have only a reference or only a prediction"
    )
    parser.add_argument("--skip-invalid", action="store_true", help="leave out cases that cannot be evaluated")
    add_executor_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate, print the table and write the files."""
    from nnunet_resunet_ds.base.case_notes import MADE_WITH
    from nnunet_resunet_ds.evaluation.metrics_file import metrics_content
    from nnunet_resunet_ds.evaluation.metrics_lines import summary_lines
    from nnunet_resunet_ds.evaluation.protocols import DEFAULT, protocol_named
    from nnunet_resunet_ds.evaluation.run_notes import weights_of

    check_outputs(((options.output, ".json"), (options.csv, ".csv"), (options.lesions, ".csv")))
    protocol = protocol_named(options.protocol or DEFAULT)
    if options.prediction.resolve() in [other.resolve() for other in options.compare]:
        msg = f"{options.prediction}: cannot be compared with itself; give predictions of another system with --compare"
        raise InputError(msg)
    pairs = {path: _pairs(options, path) for path in (options.prediction, *options.compare)}
    _introduce(list(pairs.values()), protocol)
    groups = _groups(pairs[options.prediction]) if options.by_sequences else []
    with chosen_executor(options, [options.reference, *pairs]) as executor:
        evaluations = {path: _evaluate(options, of_path, protocol, executor) for path, of_path in pairs.items()}
    evaluation = evaluations[options.prediction]
    other_rules = "" if options.protocol else _other_rules(pairs[options.prediction])
    print("\n".join(["", *summary_lines(evaluation, other_rules)]))
    for path, of_path in pairs.items():
        _warn_of_copies(path, evaluations[path])
        _warn_of_training_cases(path, of_path, evaluations[path], of_several=len(pairs) > 1)
    more: dict[str, object] = {
        "reference": str(options.reference.absolute()),
        "prediction": str(options.prediction.absolute()),
        "reference_labels": pairs[options.prediction].reference.labels,
        "prediction_labels": pairs[options.prediction].prediction.labels,
        MADE_WITH: weights_of(pair.prediction for pair in pairs[options.prediction].pairs),
    }
    if options.by_sequences:
        more["by_sequences"] = _groups_section(groups, evaluation)
    if options.compare:
        more |= _compare(evaluations, protocol)
    content = metrics_content(evaluation, more)
    answer(options, content)
    _write(options, evaluation, content, groups)


def _groups(pairs: "Pairs") -> "list[Group]":
    """Return the cases by the sequences that they had, and say so where all had the same."""
    from nnunet_resunet_ds.evaluation.sequences import group_by_sequences

    groups = group_by_sequences({pair.case: pair.prediction for pair in pairs.pairs})
    if not any(group.absent for group in groups):
        print(f"{pairs.prediction.source}: no run.json notes a case that lacked a sequence")
    return groups


def _groups_section(groups: "list[Group]", evaluation: "Evaluation") -> list[dict[str, object]]:
    """Print the means of each group, and return its statistics for the file."""
    from nnunet_resunet_ds.evaluation.metrics_file import groups_section
    from nnunet_resunet_ds.evaluation.metrics_lines import group_lines

    print("\n".join(["", *group_lines(groups, evaluation)]))
    return groups_section(groups, evaluation)


def _write(
    options: argparse.Namespace, evaluation: "Evaluation", content: dict[str, object], groups: "list[Group]"
) -> None:
    from nnunet_resunet_ds.evaluation.metrics_file import write_metrics, write_metrics_table
    from nnunet_resunet_ds.evaluation.unmatched_lesions import write_lesions

    write_outputs(
        [
            (options.output, lambda path: write_metrics(content, path)),
            (options.csv, lambda path: write_metrics_table(evaluation, path, groups)),
            (options.lesions, lambda path: write_lesions(evaluation.lesions, path)),
        ]
    )


def _pairs(options: argparse.Namespace, prediction: Path) -> "Pairs":
    from nnunet_resunet_ds.evaluation.pairs import find_pairs

    return find_pairs(
        options.reference,
        prediction,
        reference_labels=options.reference_labels,
        prediction_labels=options.prediction_labels,
        allow_missing=options.allow_missing,
    )


def _introduce(systems: "Sequence[Pairs]", protocol: "Protocol") -> None:
    """Print how the label values are read, and the warnings."""
    print(f"reference: {systems[0].reference.described(protocol)}")
    for pairs in systems:
        print(f"{pairs.prediction.source}: {pairs.prediction.described(protocol)}")
    for line in dict.fromkeys(line for pairs in systems for line in pairs.warnings):
        print(f"warning: {line}")


def _other_rules(pairs: "Pairs") -> str:
    """Say how to be scored by other rules than the default; "" where the reference is of the default's edition."""
    from nnunet_resunet_ds.evaluation.protocols import DEFAULT, PROTOCOLS, near_protocols

    near = near_protocols(pairs.reference.labels)
    name = near[0] if near else "brats2021"
    return "" if DEFAULT in near else f"--protocol {name} for those of {PROTOCOLS[name].title.removeprefix('BraTS ')}"


def _warn_of_copies(path: Path, evaluation: "Evaluation") -> None:
    """Say where a prediction is the reference itself, which a wrong folder makes of it."""
    copies = [case for case, files in evaluation.digests.items() if len(set(files.values())) == 1]
    if copies:
        print(
            f"warning: {path}: {len(copies)} of {len(evaluation.digests)} predictions, such as that of {copies[0]}, "
            "have the very bytes of the reference; is this the right folder?"
        )


def _warn_of_training_cases(path: Path, pairs: "Pairs", evaluation: "Evaluation", *, of_several: bool) -> None:
    """Say how many of the cases that are scored the model may have been trained on."""
    from nnunet_resunet_ds.evaluation.run_notes import training_cases, training_cases_line

    files = {pair.case: pair.prediction for pair in pairs.pairs if pair.case in evaluation.cases}
    line = training_cases_line(len(training_cases(files)), len(evaluation.cases))
    if line:
        print(f"warning: {path}: {line}" if of_several else f"warning: {line}")


def _evaluate(
    options: argparse.Namespace, pairs: "Pairs", protocol: "Protocol", executor: Executor | None
) -> "Evaluation":
    from nnunet_resunet_ds.evaluation.cohort_metrics import evaluate_pairs
    from nnunet_resunet_ds.evaluation.dice import EMPTY_REGIONS

    chosen = EMPTY_REGIONS[options.empty_regions] if options.empty_regions else None
    evaluation = evaluate_pairs(pairs, protocol, chosen, executor)
    if evaluation.problems and not options.skip_invalid:
        n = f"{len(evaluation.problems)} of {len(pairs.pairs)} cases could not be evaluated"
        raise InputError("\n".join([*evaluation.problems, f"{n}; evaluate the others with --skip-invalid"]))
    for problem in evaluation.problems:
        print(f"warning: left out: {problem}")
    return evaluation


def _compare(evaluations: dict[Path, "Evaluation"], protocol: "Protocol") -> dict[str, object]:
    """Print how the first differs from each of the others, and return it for the file."""
    from dataclasses import asdict

    from nnunet_resunet_ds.evaluation.metrics_lines import comparison_lines
    from nnunet_resunet_ds.evaluation.ranking import mean_ranks
    from nnunet_resunet_ds.evaluation.statistics import common_cases, differences

    systems = {str(path.absolute()): evaluation.cases for path, evaluation in evaluations.items()}
    cases, metrics = common_cases(systems), protocol.ranked_by
    print(f"\ncompared on the {len(cases)} cases that all systems have")
    ranks = mean_ranks(systems, cases, metrics)
    first, *others = systems
    found = {}
    for other in others:
        of_other = differences(systems[first], systems[other], cases, metrics)
        print("\n".join(["", *comparison_lines(other, of_other)]))
        found[other] = {
            region: {metric: asdict(value) for metric, value in row.items()} for region, row in of_other.items()
        }
    print("mean rank: " + ", ".join(f"{system} {rank:.2f}" for system, rank in ranks.items()))
    return {"comparison": {"cases": cases, "differences": found, "mean_ranks": ranks}}
