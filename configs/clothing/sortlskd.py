# LSKD from the sorted teacher (arXiv 2508.16544): T 2, weights 0.1 and 9.
_base_ = './_base_/clothing.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(
                processors=['StandardizeLogits', 'SortLogits'],
                student_processors=['StandardizeLogits'],
                loss=dict(type='KDLoss', temperature=2.0, loss_weight=9.0),
            )
        ],
    )
]
