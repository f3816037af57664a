"""Write the page of the tutorial, with the numbers of the demo that its pictures are of."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from dataset_conversion.cohort import census_table
from nnunet_resunet_ds.base.files import write_text
from nnunet_resunet_ds.demo.held_out import score_lines
from nnunet_resunet_ds.demo.run_demo import DATASET_ID, DATASET_NAME, N_HELD_OUT, N_TRAINING, PLAN_FLAGS
from nnunet_resunet_ds.experiments.tutorial.demo_folder import DemoFolder
from nnunet_resunet_ds.experiments.tutorial.pictures import changed_voxels

TEMPLATE = "page.md.j2"
METRICS = ("dice", "hd95", "lesion_dice", "n_fp", "n_fn")
"""Of the table, in its columns."""


def write_page(demo: DemoFolder, path: Path) -> None:
    """Write the page as Markdown; its pictures lie in a folder of its name."""
    content = {
        "pictures": path.stem,
        "dataset": DATASET_ID,
        "name": DATASET_NAME,
        "n_training": N_TRAINING,
        "n_held_out": N_HELD_OUT,
        "plan_flags": " ".join(PLAN_FLAGS),
        "census": "\n".join(census_table(demo.census)),
        "epochs": len(demo.log["val_losses"]),
        "case": demo.most_tumour.case_id,
        "changed": demo.most_changed.case_id,
        "n_changed": changed_voxels(demo.cases),
        "dice": "\n".join(score_lines(demo.summary)),
        "scores": "\n".join(_score_rows(demo)),
    }
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    template = files("nnunet_resunet_ds.experiments.tutorial") / "assets" / TEMPLATE
    write_text(environment.from_string(template.read_text(encoding="utf-8")).render(content), path)


def _score_rows(demo: DemoFolder) -> list[str]:
    """Return a row a region: the mean over cases of each metric."""
    head = ["region", *(f"`{metric}`" for metric in METRICS)]
    rows = [
        [region, *(f"{metrics[metric]['mean']:.3g}" for metric in METRICS)] for region, metrics in demo.scores.items()
    ]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
