"""What is asked of a dense head by its kind."""

import pytest
from thin_detectors import student_of, teacher_of

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
