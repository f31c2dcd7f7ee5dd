"""What a teacher's page says of hand-made rows."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from report_pages import BREAKING, CLASSES

from sortkd_det.distill import LogitBatch
from sortkd_det.studies.changed_rows import ChangedRows
from sortkd_det.studies.html.teacher_page import teacher_page
from sortkd_det.studies.teacher_analysis import TeacherAnalysis
from sortkd_det.studies.teacher_examples import TeacherExamples

SORTED = ['teacher', 'sorted', 'classes sorted']


def seen(teacher, labels, classes, **options):
    """The page of a teacher that gave these logits."""
    batch = LogitBatch(teacher, teacher, torch.tensor(labels), torch.ones(len(labels)), **options)
    analysis, examples = TeacherAnalysis(classes), TeacherExamples(2)
    analysis.add(ChangedRows.of(batch))
    examples.add(ChangedRows.of(batch), [])
    return teacher_page(analysis, examples.found, {})


def test_the_verdict_is_a_sentence_and_facts_are_those_given(teacher):
    (sentence,) = teacher.sentences
    assert sentence.startswith('Sorting has something to mend ')
    assert sentence.endswith('.')
    assert teacher.facts == {'config': BREAKING, 'images': 2}


def test_the_rows_are_in_the_terminals_order_and_classes_can_be_sorted(teacher):
    rows, classes = (section.parts[0] for section in teacher.sections[:2])
    assert not rows.is_sortable
    assert [row[0].text for row in rows.rows][:2] == ['rows', 'error, %']
    assert classes.is_sortable
    assert [row[0].text for row in classes.rows] == CLASSES[1::-1]  # the most errors first


def test_rows_by_their_overlap_are_shown_where_it_is_known(batch):
    box = SimpleNamespace(bboxes=torch.tensor([[5.0, 5, 25, 30]]), labels=torch.tensor([0]))
    analysis = TeacherAnalysis(CLASSES[:2])
    analysis.add(ChangedRows.of(batch, [box, box]))
    _, overlaps = teacher_page(analysis, [], {}).sections[0].parts
    texts = [[cell.text for cell in row] for row in overlaps.rows]
    assert texts[1] == ['foreground 0.8–0.9', '1', '50.0', '0.0', '0.0', '20.0', '50.0', '50.0']
    assert overlaps.columns[3:] == ['label on top', 'background on top', *SORTED]
    assert not overlaps.is_sortable


def test_confusions_before_and_after(teacher):
    before, sort, classes = teacher.sections[2].parts
    assert before.names == [*CLASSES[:2], 'background']
    # The label 0 is taken for 1; those of 1 for background; background is on top of its own.
    assert before.percents == [[0, 100, 0], [0, 0, 100], [0, 0, 100]]
    assert sort.percents == [[100, 0, 0], [0, 100, 0], [0, 0, 100]]
    assert classes.percents == [[100, 0, 0], [0, 0, 100], [0, 0, 100]]


def test_rows_are_shown_with_what_every_state_makes_of_them(teacher):
    first, second = teacher.sections[3].parts
    assert '2 of 3 on objects' in teacher.sections[3].text
    assert first.states == ['teacher', 'sorted', 'classes sorted']
    assert [(name, is_label) for name, is_label, _ in first.rows] == [
        ('background', False),
        (CLASSES[1], True),
        (CLASSES[0], False),
    ]
    percents = [[percent for _, percent in values] for _, _, values in first.rows]
    assert percents[0] == pytest.approx([80, 15, 80])
    assert percents[1] == pytest.approx([15, 80, 15])
    assert first.picture.startswith('data:image/jpeg;base64,')
    assert len(first.box) == len(second.box) == 4


def test_of_many_columns_those_with_the_most_confusions_are_shown():
    teacher = torch.eye(30) * 3
    teacher[25:] = teacher[25:].roll(1, 1)  # the last five are taken for the next one
    page = seen(
        teacher, list(range(30)), None, activation='softmax', background=None
    )  # fmt: skip
    before, after = page.sections[2].parts
    assert len(before.names) == 20
    assert {'0', '25', '26', '27', '28', '29'} <= set(before.names)
    assert 'Of 30 columns the 20' in page.sections[2].text
    assert sum(map(sum, after.percents)) == 2000
    assert not page.sections[2].is_grid
    assert len(page.sections[1].parts[0].rows) == 30
    bars = page.sections[3].parts[0]
    assert (bars.picture, bars.box) == ('', ())
    assert len(bars.rows) == 6


def test_of_more_examples_than_a_page_holds_those_that_move_least_are_left_out():
    teacher = torch.tensor([[2.0, 0.0], [3.0, 0.0]])
    batch = LogitBatch(
        teacher, teacher, torch.ones(2).long(), torch.ones(2), activation='softmax', background=None
    )
    analysis, examples = TeacherAnalysis(None), TeacherExamples(2)
    for row in range(2):
        one = replace(batch, **{
            name: getattr(batch, name)[row : row + 1]
            for name in ('student', 'teacher', 'labels', 'weight')
        })  # fmt: skip
        analysis.add(ChangedRows.of(one))
        examples.add(ChangedRows.of(one), [])
    assert len(teacher_page(analysis, examples.found, {}).sections[3].parts) == 2
    section = teacher_page(analysis, examples.found, {}, most_bytes=5_000).sections[3]
    assert [part.title for part in section.parts] == ['1: 90.5 % moves']
    assert 'Pictures of 1 are all that' in section.text


def test_sigmoids_have_two_states_and_may_have_nothing_to_sort():
    logits = torch.tensor([[2.0, -2.0], [-1.0, 3.0]])
    page = seen(logits, [0, 1], ('cat', 'dog'), activation='sigmoid', background=2)
    assert page.sentences[0].startswith('Sorting has nothing to mend: ')
    assert len(page.sections[2].parts) == 2
    assert page.sections[2].parts[0].names == ['cat', 'dog']  # there is nothing of background
    assert page.sections[3].text == 'None were found, or none were asked for.'
    assert not page.sections[3].parts
