"""That the table of bad input in the docs has a row of each kind that tests make, and no other."""

import test_average_model
import test_conversion_bad_input
import test_ensemble_command
import test_evaluate
import test_export
import test_fewer_channels
import test_file_formats
import test_fine_tuning
import test_joined_folders
import test_outputs
import test_package
import test_predict_bad_input
import test_predict_paths
import test_predicting_absent_sequences
import test_predicting_other_regions
import test_ranking
import test_report_says
import test_said_labels
import test_single_case
import test_starter_model
import test_tuning
import test_uncertainty
import test_write_container
import test_wrong_sides
from bad_input import key, rows_of_docs


def test_the_table_has_every_kind_and_no_other():
    kinds = [
        *(("average-weights", kind) for kind in test_average_model.BAD),
        *(("convert", kind) for kind in test_conversion_bad_input.BAD_CASES),
        *(("convert", f"no case, but {kind}") for kind in test_file_formats.KINDS),
        ("convert", test_file_formats.ARCHIVE),
        ("convert", test_joined_folders.ONE_MISSING),
        ("convert", test_said_labels.PREDICTED),
        *(("install", kind) for kind in (*test_package.HARMFUL, test_package.NO_ZIP)),
        *(("plan", f"pretrained: {kind}") for kind in test_fine_tuning.BAD),
        *(("nnUNetv2_train", kind) for kind in test_fine_tuning.SPOILT),
        *(("predict", f"{flag} without -d") for flag, _ in test_starter_model.NAMES_OF_OTHERS),
        *(("predict", f"case: {kind}") for kind in test_predict_bad_input.BAD_CASES),
        *(("predict", f"model: {kind}") for kind in test_predict_bad_input.BAD_MODELS),
        ("predict", test_fewer_channels.ONE_FOR_TWO),
        *(
            ("predict", kind)
            for kind in (test_predict_paths.BARE, test_predict_paths.NO_FILE, test_predict_paths.AMONG)
        ),
        ("predict", test_outputs.ANOTHER_FORMAT),
        ("predict", test_single_case.OF_OTHERS),
        ("predict", test_predicting_absent_sequences.NO_SUCH_SEQUENCE),
        ("predict", test_uncertainty.UNCERTAIN_LOGITS),
        ("predict", test_uncertainty.DAMAGED_EXPECTED_DICE),
        *(("predict", f"regions: {kind}") for kind in test_predicting_other_regions.BAD),
        *(("ensemble", kind) for kind in (*test_ensemble_command.BAD, *test_ensemble_command.FAILING)),
        *(("evaluate", kind) for kind in (*test_evaluate.BAD, test_evaluate.CONTRADICTION, *test_wrong_sides.BAD)),
        *(("export", kind) for kind in (*test_export.BAD, test_export.OTHER_VALUES, test_export.WITHOUT_EXTRA)),
        *(("rank", kind) for kind in test_ranking.BAD),
        *(("report", kind) for kind in test_report_says.BAD),
        *(("submission", kind) for kind in (*test_write_container.BAD, test_write_container.DAMAGED)),
        ("submission", test_said_labels.WRITTEN_OTHERWISE),
        *(("tune", kind) for kind in test_tuning.BAD),
    ]
    rows = [key(row) for row in rows_of_docs()]
    assert len(rows) == len(set(rows)) >= 40
    assert [one for one in rows if one[0] != "postprocess"] == sorted(kinds)
