from types import SimpleNamespace

import cv2
import pytest
import torch
from rich.console import Console

from sortkd_det.distill import LogitBatch
from sortkd_det.studies.changed_rows import ChangedRows
from sortkd_det.studies.teacher_analysis import TeacherAnalysis
from sortkd_det.studies.teacher_report import (
    class_table,
    confusion_table,
    draw,
    group_table,
    iou_table,
    show,
)


def analysis_of(teacher, labels, background, classes=('cat', 'dog'), truth=None):
    teacher = torch.tensor(teacher, dtype=torch.float64).log()
    analysis = TeacherAnalysis(classes)
    batch = LogitBatch(
        teacher,
        teacher,
        torch.tensor(labels),
        torch.ones(len(labels)),
        activation='softmax',
        background=background,
        find_ground_truth=None if truth is None else lambda: torch.tensor(truth),
    )
    analysis.add(ChangedRows.of(batch))
    return analysis


@pytest.fixture
def detector():
    """A hit and a miss of cat, a missed ground-truth box of dog, a hit on background."""
    rows = [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.1, 0.3, 0.6]]
    return analysis_of(rows, [0, 0, 1, 2], 2, truth=[False, False, True, False])


@pytest.fixture
def classifier():
    """Of thirty classes each is taken for the next, but for the last one."""
    rows = torch.full((30, 30), 0.01).fill_diagonal_(0.1)
    rows[torch.arange(29), torch.arange(1, 30)] = 0.5
    return analysis_of(rows.tolist(), list(range(30)), None, [f'class {i}' for i in range(30)])


def cells(table, gap='   '):
    """The rows of a table as a user sees them on 80 columns, by their first cell."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    lines = [line.strip() for line in capture.get().splitlines() if '  ' in line.strip()]
    rows = [[cell.strip() for cell in line.split(gap) if cell.strip()] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_a_column_for_each_kind_of_rows(detector):
    rows = cells(group_table(detector))
    assert rows['foreground'] == ['GT boxes', 'background', 'all rows']
    assert rows['rows'] == ['2', '1', '1', '4']
    assert rows['error, %'] == ['50.0', '100.0', '0.0', '50.0']
    assert rows['label at rank 2, %'] == ['0.0', '100.0', '0.0', '25.0']
    assert rows['label at rank 3 or lower, %'] == ['50.0', '0.0', '0.0', '25.0']
    assert rows['mean rank of the label'] == ['2.00', '2.00', '1.00', '1.75']
    assert rows['background on top, %'] == ['0.0', '100.0', '100.0', '50.0']
    assert rows['mean confidence, %'] == ['65.0', '70.0', '60.0', '65.0']
    assert rows['calibration error, %'] == ['35.0', '70.0', '40.0', '45.0']
    assert rows['sort: changed, %'] == ['50.0', '100.0', '0.0', '50.0']
    assert rows['sort of classes: changed, %'] == ['50.0', '0.0', '0.0', '25.0']
    assert rows['swap: changed, %'] == ['50.0', '100.0', '0.0', '50.0']


def test_a_line_for_each_overlap(detector):
    rows = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]]).log()
    places = torch.tensor([[0, 0, 0, 10, 9], [0, 0, 0, 10, 9.5], [0, 0, 0, 5, 2]])
    batch = LogitBatch(
        rows, rows, torch.tensor([0, 0, 2]), torch.ones(3),
        activation='softmax', background=2, find_places=lambda: places,
    )  # fmt: skip
    cat = SimpleNamespace(bboxes=torch.tensor([[0.0, 0, 10, 10]]), labels=torch.tensor([0]))
    detector.add(ChangedRows.of(batch, [cat]))
    assert cells(iou_table(detector), '  ') == {
        'label': ['background', 'classes'],
        'IoU': ['rows', 'share', 'on top', 'on top', 'teacher', 'sorted', 'sorted'],
        'foreground 0.9–1.0': ['2', '100.0', '50.0', '0.0', '50.0', '65.0', '65.0'],
        'background 0.1–0.2': ['1', '100.0', '100.0', '100.0', '60.0', '60.0', '60.0'],
    }


def test_a_classifier_is_asked_nothing_about_background(classifier):
    rows = cells(group_table(classifier))
    assert rows['rows'] == ['30']
    assert not [question for question in rows if 'background' in question or 'classes' in question]


def test_classes_are_listed_by_their_errors(detector):
    rows = cells(class_table(detector))
    assert rows['class'] == ['rows', 'error, %', 'GT boxes', 'GT error, %', 'most often taken for']
    assert rows['cat'] == ['2', '50.0', '0', '–', 'dog (1)']
    assert rows['dog'] == ['0', '–', '1', '100.0', 'background (1)']


def test_of_many_classes_the_worst_are_listed(classifier):
    rows = cells(class_table(classifier))
    assert 'class 0' in rows
    assert 'class 29' not in rows
    assert len([name for name in rows if name.startswith('class ')]) == 20


def test_the_commonest_confusions_are_listed(detector, classifier):
    rows = cells(confusion_table(detector))
    assert rows['cat'] == ['dog', '1', '50.0']
    assert rows['dog'] == ['background', '1', '100.0']
    assert len([name for name in cells(confusion_table(classifier)) if 'class' in name]) == 10


def test_pictures_show_what_was_counted(detector, classifier, tmp_path):
    pictures = []
    for name, analysis in (('detector', detector), ('classifier', classifier)):
        (tmp_path / name).mkdir()
        paths = draw(analysis, tmp_path / name)
        assert [path.name for path in paths] == ['teacher.png', 'confusion.png']
        assert paths[1].stat().st_size > 1000
        pictures.append(cv2.imread(str(paths[0])))
    assert pictures[0].shape == pictures[1].shape == (990, 1430, 3)
    assert (pictures[0] != pictures[1]).any()


def test_names_are_drawn_as_text_and_each_has_its_bar(tmp_path):
    rows = [
        [0.2, 0.8],
        [0.7, 0.3],
        [0.1, 0.9],
    ]  # wrong: all of the first, half of the other
    blue = []
    for folder, classes in enumerate((('cat', 'dog'), ('cat', 'cat'), (r'$\frac$', 'US$ or CA$'))):
        (tmp_path / str(folder)).mkdir()
        analysis = analysis_of(rows, [0, 1, 1], None, classes=classes)
        picture = cv2.imread(str(draw(analysis, tmp_path / str(folder))[0]))[495:, :715]
        blue.append((picture == (0xB2, 0x72, 0)).all(2).sum() / picture.shape[1])
    assert blue[1:] == pytest.approx([blue[0]] * 2, rel=0.2)  # longer names leave less room
    assert blue[0] > 0


def test_names_that_look_like_markup_are_shown(capsys):
    show(analysis_of([[0.2, 0.8], [0.1, 0.9]], [0, 1], None, classes=('[/red]cat', ':dog:')))
    said = capsys.readouterr().out
    assert said.count('[/red]cat') >= 2
    assert ':dog:' in said
