"""Rank systems as the BraTS challenges do, from what evaluate wrote about each of them.

In each case, region and metric the systems are ranked, 1 for the best; equal ones share the mean of their ranks. The
system with the smallest mean rank comes first. A case that a system lacks gives it the last rank there. For each pair
of systems a permutation test says how likely chance alone makes such a difference.

All systems must have been evaluated by one protocol, against the same references.

Examples:
  resunet-ds evaluate -ref reference -pred ours -o ours.json --protocol brats2026-met
  resunet-ds evaluate -ref reference -pred theirs -o theirs.json --protocol brats2026-met
  resunet-ds rank ours.json theirs.json -o ranking.json --csv ranking.csv
"""

import argparse
from functools import partial
from pathlib import Path

from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer
from nnunet_resunet_ds.commands.output_files import check_outputs, write_outputs

SUMMARY = "rank several evaluated systems, and test whether they differ"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "metrics", type=Path, nargs="+", metavar="METRICS", help="what evaluate -o wrote, a file for each system"
    )
    parser.add_argument(
        "--by",
        dest="ranked_by",
        nargs="+",
        metavar="METRIC",
        help="metrics to rank by, such as dice hd95 (default: those of the protocol, see docs/reference/protocols.md)",
    )
    parser.add_argument("-o", dest="output", type=Path, metavar="JSON", help="write the ranking to this file")
    parser.add_argument("--csv", type=Path, metavar="CSV", help="write the ranking as a table")
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Rank, print the table and write the files."""
    from nnunet_resunet_ds.evaluation.ranking_files import (
        rank_files,
        ranking_content,
        ranking_lines,
        write_ranking,
        write_ranking_table,
    )

    check_outputs(((options.output, ".json"), (options.csv, ".csv")), options.metrics)
    ranking = rank_files(options.metrics, options.ranked_by)
    answer(options, ranking_content(ranking))
    print("\n".join(ranking_lines(ranking)))
    write_outputs(
        [(options.output, partial(write_ranking, ranking)), (options.csv, partial(write_ranking_table, ranking))]
    )
