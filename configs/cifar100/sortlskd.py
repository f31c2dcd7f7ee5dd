# LSKD from the sorted teacher (arXiv 2508.16544).
_base_ = './_base_/cifar100.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(
                processors=['StandardizeLogits', 'SortLogits'],
                student_processors=['StandardizeLogits'],
                loss=dict(
                    type='KDLoss', temperature='{lskd_temperature}', loss_weight='{lskd_weight}'
                ),
            )
        ],
    )
]
