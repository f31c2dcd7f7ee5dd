"""What is asked of a dense head by its kind."""

import pytest
from thin_detectors import student_of, teacher_of

from sortkd_det.adapters import build_adapter
from sortkd_det.adapters.dense_heads import dense_head_of, is_led_by_predictions


@pytest.mark.parametrize(
    ('name', 'is_led', 'negatives'),
    [
        ('RTMDet', True, 'all'),
        ('RTMDet-Ins', True, 'all'),
        ('TOOD', True, 'all'),
        ('YOLOX', True, 'none'),  # whose classes say nothing where there is no object
        ('GFL', False, 'none'),
        ('ATSS', False, 'none'),
        ('RetinaNet', False, 'none'),
        ('FCOS', False, 'none'),
        ('SSD', False, 'none'),
    ],
)
def test_background_is_taught_where_predictions_choose_the_positives(name, is_led, negatives):
    student, teacher = student_of(name), teacher_of(name)
    assert is_led_by_predictions(dense_head_of(student)) == is_led
    assert build_adapter(None, student, teacher).negatives == negatives
    for given in ('none', 3):
        adapter = {'type': 'DenseHeadAdapter', 'negatives': given}
        if name != 'YOLOX' or given == 'none':
            assert build_adapter(adapter, student, teacher).negatives == given
