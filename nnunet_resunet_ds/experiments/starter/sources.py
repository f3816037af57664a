"""Where the training cases of the starter model are from, and on which terms."""

from collections.abc import Iterable
from dataclasses import replace

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.models.card import Source

_MENZE = "Menze et al. 2015, doi 10.1109/TMI.2014.2377694"
_BAKAS = "Bakas et al. 2017, doi 10.1038/sdata.2017.117"
_BY_PREFIX = {
    "Brats18": Source(
        name="BraTS 2018",
        licence=(
            "free for research with these citations; the scans are of the TCGA-GBM collection of The Cancer Imaging "
            "Archive, CC BY 3.0"
        ),
        citations=(_MENZE, _BAKAS, "Bakas et al. 2018, arXiv 1811.02629"),
        n_cases=0,
    ),
    "BraTS2021": Source(
        name="BraTS 2021",
        licence="CC BY 4.0, The Cancer Imaging Archive, doi 10.7937/jc8x-9874",
        citations=("Baid et al. 2021, arXiv 2107.02314", _MENZE, _BAKAS),
        n_cases=0,
    ),
}


def sources_of(case_ids: Iterable[str]) -> tuple[Source, ...]:
    """Return the sources of cases, each with its own.

    Raises:
        InputError: the terms of a case are not known here.
    """
    by_prefix: dict[str, list[str]] = {}
    for case_id in sorted(case_ids):
        by_prefix.setdefault(case_id.partition("_")[0], []).append(case_id)
    unknown = sorted(by_prefix.keys() - _BY_PREFIX.keys())
    if unknown:
        msg = f"cases {', '.join(unknown)}…: add their source, licence and citations to sources.py, then train on them"
        raise InputError(msg)
    return tuple(
        replace(_BY_PREFIX[prefix], n_cases=len(cases), cases=tuple(cases)) for prefix, cases in by_prefix.items()
    )
