"""What is asked of a dense head by its kind."""

import copy

import pytest
from thin_detectors import forward, guest_of, prepared, student_of, teacher_of

from sortkd_det.adapters import build_adapter


@pytest.mark.parametrize(
    ('name', 'negatives'),
    [
        ('RTMDet', 'all'),
        ('TOOD', 'all'),
        ('GFL', 'all'),
        ('ATSS', 'all'),
        ('RetinaNet', 'all'),
        ('FCOS', 'all'),
        ('YOLOX', 'none'),  # whose classes say nothing where there is no object
        ('FreeAnchor', 'none'),  # which no label tells what is background
        ('SSD', 'none'),  # a softmax
    ],
)
def test_background_is_taught_where_sigmoids_learn_what_it_is(name, negatives):
    student, teacher = student_of(name), teacher_of(name)
    assert build_adapter(None, student, teacher).negatives == negatives
    for given in ('none', 3):
        adapter = {'type': 'DenseHeadAdapter', 'negatives': given}
        if name != 'YOLOX' or given == 'none':
            assert build_adapter(adapter, student, teacher).negatives == given


def test_a_classification_loss_of_another_name_is_missed_by_name():
    student = student_of('RetinaNet')
    student.bbox_head.loss_of_classes = student.bbox_head.loss_cls
    del student.bbox_head.loss_cls
    with pytest.raises(ValueError, match='RetinaHead has no loss_cls, whose calls tell'):
        build_adapter(None, student, teacher_of('RetinaNet'))


def test_a_head_that_hands_over_its_boxes_first_is_refused():
    """Maps of 4 classes and of 4 sides have one shape: what the loss sees comes from no map."""
    student = student_of('RetinaNet')
    head = student.bbox_head
    head.num_classes = head.cls_out_channels = 4
    head.retina_cls = type(head.retina_cls)(16, head.retina_reg.out_channels, 3, padding=1)
    teacher = guest_of(copy.deepcopy(student).eval(), 'RetinaNet')
    made, loss = head.forward, head.loss_by_feat
    head.forward = lambda features: made(features)[::-1]
    head.loss_by_feat = lambda boxes, scores, *args, **kwargs: loss(scores, boxes, *args, **kwargs)
    adapter = build_adapter(None, student, teacher)
    with pytest.raises(ValueError, match='RetinaHead was given come from its maps in no order'):
        forward(adapter, *prepared(student, 'RetinaNet'))
