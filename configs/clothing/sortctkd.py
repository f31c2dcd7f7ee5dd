# CTKD from the sorted teacher (arXiv 2508.16544): a learned temperature; with the audit.
_base_ = './_base_/clothing.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(
                processors=['SortLogits'],
                loss=dict(
                    type='KDLoss', temperature=dict(type='LearnableTemperature'), loss_weight=0.9
                ),
            )
        ],
    ),
    dict(type='sortkd_det.TeacherAuditHook', interval=20),
]
