"""Make the tutorial of the documentation: run the demo, draw its steps, write the page.

python -m nnunet_resunet_ds.experiments.tutorial
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nnunet_resunet_ds.base.log import shown
from nnunet_resunet_ds.demo.run_demo import demo
from nnunet_resunet_ds.experiments.tutorial.demo_folder import DemoFolder
from nnunet_resunet_ds.experiments.tutorial.make_tutorial import make_tutorial


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the tutorial, and print what was written."""
    parser = argparse.ArgumentParser(description="Make the tutorial in pictures from a run of the demo.")
    parser.add_argument("--demo", type=Path, metavar="FOLDER", help="of a finished demo (default: run one)")
    parser.add_argument("-o", dest="page", type=Path, default=Path("docs/start/tutorial.md"), help="the page to write")
    options = parser.parse_args(arguments)
    folder = options.demo or Path("demo_output").resolve()
    with shown(verbose=False):
        if options.demo is None:
            demo(folder)
        written = make_tutorial(DemoFolder(folder), options.page)
    for path in written:
        print(f"wrote {path}, {path.stat().st_size / 1000:.0f} kB")  # noqa: T201 (what it is for)


if __name__ == "__main__":
    main()
