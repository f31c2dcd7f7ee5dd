# CTKD from the sorted teacher (arXiv 2508.16544).
_base_ = './_base_/cifar100.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(
                processors=['SortLogits'],
                loss=dict(
                    type='KDLoss',
                    temperature=dict(type='LearnableTemperature', ramp=10),
                    loss_weight=0.9,
                ),
            )
        ],
    )
]
