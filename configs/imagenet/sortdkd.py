# DKD from the sorted teacher (arXiv 2508.16544).
_base_ = './_base_/imagenet.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=1.0,
        method=[
            dict(
                processors=['SortLogits'],
                loss=dict(type='DKDLoss', alpha=1.0, beta='{beta}', temperature=1.0),
                warmup=1,
            )
        ],
    )
]
