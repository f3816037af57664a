"""What goes along from one run.json to the next."""

from nnunet_resunet_ds.base.case_notes import with_notes_of_case


def test_nothing_is_known_of_images_where_nothing_was_noted():
    assert with_notes_of_case([]) == {"warnings": []}
    assert with_notes_of_case([{"changes": []}], ["ET removed"]) == {"warnings": ["ET removed"]}


def test_a_complete_case_stays_one():
    assert with_notes_of_case([{"absent": []}])["absent"] == []


def test_warnings_of_the_images_stay_and_those_of_the_label_map_go():
    before = {"absent": ["T2"], "image_warnings": ["no brain?"], "warnings": ["no brain?", "removed all ET"]}
    assert with_notes_of_case([before], ["nothing found"]) == {
        "absent": ["T2"],
        "image_warnings": ["no brain?"],
        "warnings": ["no brain?", "nothing found"],
    }


def test_what_any_member_lacked_is_absent_and_said_once():
    members = [{"absent": ["T2"], "image_warnings": ["a"]}, {"absent": ["T1", "T2"], "image_warnings": ["a", "b"]}, {}]
    assert with_notes_of_case(members) == {
        "absent": ["T2", "T1"],
        "image_warnings": ["a", "b"],
        "warnings": ["a", "b"],
    }


def test_a_damaged_note_counts_as_none():
    assert with_notes_of_case([{"absent": "T2", "image_warnings": None}]) == {"warnings": []}
