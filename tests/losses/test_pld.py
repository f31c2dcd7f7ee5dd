"""PLD: the order of the teacher behind the label."""

from itertools import permutations

import torch
from every_loss import random_pair

from sortkd_det.losses import PLDLoss


def test_a_student_in_the_order_of_label_and_teacher_costs_less_than_in_any_other():
    target = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    label = torch.tensor([1])
    in_order = torch.tensor([[2.0, 4.0, 0.0, -2.0]])  # 1, 0, 2, 3: the label, then the teacher's
    loss = PLDLoss(temperature=2)
    costs = [loss(in_order[:, list(order)], target, label) for order in permutations(range(4))]
    assert min(range(24), key=lambda i: costs[i]) == 0


def test_the_temperature_is_the_teachers_alone():
    student, target, labels = random_pair(dtype=torch.float64)
    at_two = PLDLoss(temperature=2)(student, target, labels)
    torch.testing.assert_close(PLDLoss(temperature=1)(student, target / 2, labels), at_two)
