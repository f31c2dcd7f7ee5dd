"""Counts of hand-made batches, whose right values are worked out by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sortkd_det.distill import LogitBatch
from sortkd_det.studies.changed_rows import ChangedRows
from sortkd_det.studies.teacher_analysis import NUM_BINS, TeacherAnalysis

# Probabilities of cat, dog and background; logits are their logarithms.
SOFTMAX = [
    ([0.8, 0.1, 0.1], 0, False),  # a hit
    ([0.2, 0.5, 0.3], 0, False),  # third: dog, background, cat
    ([0.3, 0.1, 0.6], 1, False),  # third: background, cat, dog
    ([0.1, 0.2, 0.7], 1, True),  # a ground-truth box, second
    ([0.1, 0.3, 0.6], 2, False),  # background, a hit
    ([0.7, 0.1, 0.2], 2, False),  # background, second
]


def softmax_batch(rows=SOFTMAX, background=2, weight=None):
    probabilities, labels, truth = zip(*rows, strict=True)
    teacher = torch.tensor(probabilities, dtype=torch.float64).clamp(min=1e-12).log()
    return LogitBatch(
        teacher,
        teacher,
        torch.tensor(labels),
        torch.ones(len(labels)) if weight is None else torch.tensor(weight),
        activation='softmax',
        background=background,
        find_ground_truth=lambda: torch.tensor(truth),
    )


def sigmoid_batch():
    """Chances of cat and dog; the label 2 is background."""
    chances = torch.tensor([[0.6, 0.2], [0.4, 0.3], [0.2, 0.1], [0.7, 0.1]], dtype=torch.float64)
    logits = (chances / (1 - chances)).log()
    labels = torch.tensor([0, 1, 2, 2])
    return LogitBatch(
        logits, logits, labels, torch.ones(4), activation='sigmoid', background=2
    )  # fmt: skip


def analysis_of(*batches, classes=('cat', 'dog')):
    analysis = TeacherAnalysis(classes)
    for batch in batches:
        analysis.add(ChangedRows.of(batch))
    return analysis


def changes_of(group):
    return {name: change.as_dict() for name, change in group.changes.items()}


def test_groups_are_counted_apart():
    groups = analysis_of(softmax_batch()).groups
    assert {name: group.rows for name, group in groups.items()} == {
        'foreground': 3,
        'GT boxes': 1,
        'background': 2,
        'all rows': 6,
    }
    foreground = groups['foreground']
    assert foreground.error == pytest.approx(2 / 3)
    assert foreground.mean_rank == pytest.approx((1 + 3 + 3) / 3)
    assert foreground.ranks.tolist() == [1, 0, 2]
    assert foreground.as_background == 1
    assert foreground.confusion.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert groups['GT boxes'].error == 1
    assert groups['GT boxes'].as_background == 1
    assert groups['background'].error == 1 / 2
    assert groups['all rows'].error == pytest.approx(4 / 6)
    assert groups['all rows'].ranks.tolist() == [2, 2, 2]


def test_calibration_is_the_mean_distance_of_confidence_and_hits_by_bin():
    groups = analysis_of(softmax_batch()).groups
    # Each confidence is in a bin of its own: 0.8 hits, 0.5 and 0.6 do not.
    assert groups['foreground'].ece == pytest.approx((0.2 + 0.5 + 0.6) / 3)
    assert groups['foreground'].confidence == pytest.approx((0.8 + 0.5 + 0.6) / 3)
    assert groups['background'].ece == pytest.approx((0.4 + 0.7) / 2)
    same = [([0.61, 0.39, 0.0], 0, False), ([0.65, 0.35, 0.0], 1, False)]  # bin (0.6, 0.667]
    (group,) = analysis_of(softmax_batch(same)).groups.values()
    assert group.ece == pytest.approx(abs(0.63 - 0.5))
    assert group.bins[9].tolist() == pytest.approx([2, 1.26, 1])
    assert group.bins.sum(0)[0] == 2


def test_changes_are_shares_of_rows_and_moved_probability():
    analysis = analysis_of(softmax_batch())
    changes = changes_of(analysis.groups['foreground'])
    # The second row becomes cat 0.5, dog 0.3, background 0.2: 0.3 moves, 0.1 from background; the
    # third cat 0.1, dog 0.6, background 0.3: 0.5 moves, 0.3 of it from background.
    assert changes['sort'] == pytest.approx(
        dict(
            share_changed=2 / 3,
            moved_per_row=0.8 / 3,
            moved_per_changed_row=0.4,
            share_from_background=0.4 / 0.8,
        )
    )
    # Among themselves: cat 0.5, dog 0.2 (0.3 moves), and cat 0.1, dog 0.3 (0.2 moves).
    assert changes['sort of classes'] == pytest.approx(
        dict(
            share_changed=2 / 3,
            moved_per_row=0.5 / 3,
            moved_per_changed_row=0.25,
            share_from_background=0,
        )
    )
    # Swapped: cat 0.5, dog 0.2, background 0.3; and cat 0.3, dog 0.6, background 0.1.
    assert changes['swap'] == pytest.approx(
        dict(
            share_changed=2 / 3,
            moved_per_row=0.8 / 3,
            moved_per_changed_row=0.4,
            share_from_background=0.5 / 0.8,
        )
    )
    # Background, sorted among all columns, and no class among classes.
    background = changes_of(analysis.groups['background'])
    assert background['sort']['moved_per_row'] == pytest.approx(0.5 / 2)
    assert background['sort of classes']['share_changed'] == 0
    assert background['sort of classes']['moved_per_changed_row'] is None


def test_classes_and_confusions():
    analysis = analysis_of(softmax_batch())
    dog, cat = analysis.classes
    assert (dog.name, dog.rows, dog.error, dog.truth_rows, dog.truth_error) == ('dog', 1, 1, 1, 1)
    assert dog.taken_for == ('background', 2)
    assert (cat.name, cat.rows, cat.error, cat.truth_rows, cat.truth_error) == (
        'cat', 2, 0.5, 0, None,
    )  # fmt: skip
    assert cat.taken_for == ('dog', 1)
    assert analysis.confusions == [
        dict(label='dog', taken_for='background', rows=2, share_of_label=1.0),
        dict(label='cat', taken_for='dog', rows=1, share_of_label=0.5),
    ]


# Corners of the rows' boxes of SOFTMAX, each after the number of its image, and the objects.
PLACES = [
    [0, 0, 0, 10, 8],  # 0.8 of the cat, 0.75 of the dog
    [0, 0, 0, 10, 6],  # 0.6 of the cat, which is its label, and all of the dog
    [1, 0, 0, 5, 10],  # half of the dog
    [1, 0, 0, 10, 10],  # the dog
    [1, 0, 0, 3, 10],  # background: 0.3 of the dog
    [2, 0, 0, 9, 9],  # an image without objects
]
OBJECTS = [
    SimpleNamespace(
        bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4), labels=torch.tensor(labels)
    )
    for boxes, labels in (
        ([[0, 0, 10, 10], [0, 0, 10, 6]], [0, 1]),
        ([[0, 0, 10, 10]], [1]),
        ([], []),
    )
]


def test_rows_by_their_overlap_with_the_object():
    places = torch.tensor(PLACES, dtype=torch.float)
    batch = replace(softmax_batch(), find_places=lambda: places)
    changed = ChangedRows.of(batch, OBJECTS)
    assert changed.ious.tolist() == pytest.approx([0.8, 0.6, 0.5, 1.0, 0.3, 0.0])
    analysis = TeacherAnalysis(('cat', 'dog'))
    analysis.add(changed)
    rows = {f'{row.kind} {row.low}': row for row in analysis.by_iou}
    assert {name: (row.label_on_top, row.as_background) for name, row in rows.items()} == {
        'foreground 0.5': (0, 1),
        'foreground 0.6': (0, 0),
        'foreground 0.8': (1, 0),
        'background 0.0': (0, 0),
        'background 0.3': (1, 1),
    }
    probability = {
        name: [row.probability[each] for each in ('', 'sort', 'sort of classes', 'swap')]
        for name, row in rows.items()
    }
    assert probability['foreground 0.5'] == pytest.approx([0.1, 0.6, 0.3, 0.6])
    assert probability['foreground 0.6'] == pytest.approx([0.2, 0.5, 0.5, 0.5])
    assert probability['foreground 0.8'] == pytest.approx([0.8] * 4)
    assert probability['background 0.0'] == pytest.approx([0.2, 0.7, 0.2, 0.7])
    assert probability['background 0.3'] == pytest.approx([0.6] * 4)
    assert [row.rows for row in rows.values()] == [1] * 5
    assert rows['foreground 0.5'].share == pytest.approx(1 / 3)
    assert rows['background 0.3'].share == pytest.approx(1 / 2)
    analysis.add(changed)
    analysis.add(ChangedRows.of(replace(batch, weight=torch.zeros(6)), OBJECTS))
    twice = analysis.by_iou
    assert [row.rows for row in twice] == [2] * 5
    assert twice[0].probability[''] == pytest.approx(0.1)
    assert analysis.as_dict()['by_iou'][0]['high'] == 0.6


def test_without_places_nothing_is_said_of_overlaps():
    assert analysis_of(softmax_batch()).as_dict()['by_iou'] == []


def test_sigmoids():
    analysis = analysis_of(sigmoid_batch())
    assert list(analysis.groups) == ['foreground', 'background', 'all rows']
    foreground, background, _ = analysis.groups.values()
    assert foreground.error == 1 / 2
    assert foreground.as_background == 1  # the second row has no chance above one half
    assert foreground.ece == pytest.approx((0.4 + 0.4) / 2)
    assert foreground.changes.keys() == {'sort', 'swap'}
    # The second row's 0.4 and 0.3 change places.
    assert changes_of(foreground)['sort']['moved_per_row'] == pytest.approx(0.1 / 2)
    assert background.error == 1 / 2
    assert background.ece == pytest.approx((0.2 + 0.7) / 2)  # background is never the top class
    assert background.changes['sort'].changed == 0
    assert analysis.names == ['cat', 'dog', 'background']


def test_a_classifier_has_one_group_and_no_background():
    analysis = analysis_of(softmax_batch(background=None), classes=('cat', 'dog', 'cow'))
    (group,) = analysis.groups.values()
    assert list(analysis.groups) == ['all rows']
    assert group.rows == 6
    assert group.error == pytest.approx(4 / 6)
    assert group.changes.keys() == {'sort', 'swap'}
    assert [row.name for row in analysis.classes] == ['dog', 'cat', 'cow']
    assert [row.truth_error for row in analysis.classes] == [None] * 3


def test_batches_add_up_and_rows_of_weight_zero_count_nowhere():
    whole = analysis_of(softmax_batch()).as_dict()
    parts = analysis_of(softmax_batch(SOFTMAX[:2]), softmax_batch(SOFTMAX[2:]))
    assert parts.as_dict() == whole
    more = softmax_batch([*SOFTMAX, ([0.1, 0.1, 0.8], 0, False)], weight=[0.5] * 6 + [0.0])
    assert analysis_of(more).as_dict() == whole


def test_classes_without_a_name_are_called_by_their_number():
    assert analysis_of(softmax_batch(), classes=None).names == ['0', '1', 'background']


# -- verdict -----------------------------------------------------------------


@pytest.mark.parametrize(
    ('rows', 'says'),
    [
        pytest.param(
            SOFTMAX,
            # 0.3 + 0.5 + 0.5 in four rows on objects; 0.1 + 0.3 + 0.5 of it is background's.
            'sorting has something to mend among classes: it changes 3 of 4 rows on objects '
            '(75.0 %) and moves 32.50 % of the probability of a row on average; 69 % of that '
            "is background's. With sort_columns='classes', which leaves background alone, "
            '12.50 % of the probability is moved',
            id='classes',
        ),
        pytest.param(
            [([0.3, 0.1, 0.6], 0, False)],
            'sorting has something to mend in missed objects, little among classes: it changes '
            '1 of 1 rows on objects (100.0 %) and moves 30.00 % of the probability of a row on '
            "average; 100 % of that is background's. With sort_columns='classes', which leaves "
            'background alone, 0.00 % of the probability is moved',
            id='missed',
        ),
        pytest.param(
            [SOFTMAX[0], SOFTMAX[5]],
            'sorting has nothing to mend: the label is on top in all 1 rows on objects, so that it '
            'changes none and SortKD is KD',
            id='nothing',
        ),
        pytest.param(
            [*[SOFTMAX[0]] * 99, SOFTMAX[1]],
            'sorting mends little: it changes 1 of 100 rows on objects (1.0 %) and moves 0.30 % '
            'of the probability of a row on average, less than 1 %',
            id='little',
        ),
        pytest.param(
            SOFTMAX[4:],
            'no rows on objects were seen: whether sorting has anything to mend cannot be said',
            id='unseen',
        ),
    ],
)
def test_the_verdict_says_whether_there_is_anything_to_mend(rows, says):
    assert analysis_of(softmax_batch(rows)).verdict() == says


def test_the_verdict_of_sigmoids_and_classifiers_says_nothing_of_background():
    assert analysis_of(sigmoid_batch()).verdict() == (
        'sorting has something to mend: it changes 1 of 2 rows on objects (50.0 %) and moves '
        '5.00 % of the probability of a row on average'
    )
    verdict = analysis_of(softmax_batch(background=None), classes=None).verdict()
    assert verdict.startswith(
        'sorting has something to mend: it changes 4 of 6 rows (66.7 %) and moves'
    )


# -- what is refused ---------------------------------------------------------


def test_logits_that_are_not_finite_are_refused():
    batch = softmax_batch()
    batch.teacher[1, 0] = math.nan
    with pytest.raises(ValueError, match='logits of the teacher are not finite in 1 of 6 rows'):
        analysis_of(batch)


def test_another_kind_of_head_is_refused():
    with pytest.raises(ValueError, match='expected batches of one adapter'):
        analysis_of(softmax_batch(), sigmoid_batch())


@pytest.mark.parametrize(
    'batches', [[], [softmax_batch([([0.5, 0.3, 0.2], 0, False)], weight=[0.0])]]
)
def test_without_rows_there_is_nothing_to_say(batches):
    with pytest.raises(ValueError, match='there is nothing to say of the teacher'):
        analysis_of(*batches).as_dict()


def test_a_certain_teacher_is_in_the_last_bin():
    (group,) = analysis_of(softmax_batch([([1.0, 0.0, 0.0], 0, False)])).groups.values()
    assert group.bins[NUM_BINS - 1].tolist() == pytest.approx([1, 1, 1])
    assert group.ece == pytest.approx(0, abs=1e-9)
