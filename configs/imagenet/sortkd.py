# SortKD (arXiv 2508.16544): KD from the sorted teacher.
_base_ = './_base_/imagenet.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.5,
        method=[
            dict(
                processors=['SortLogits'],
                loss=dict(type='KDLoss', temperature=1.0, loss_weight=0.5),
            )
        ],
    )
]
