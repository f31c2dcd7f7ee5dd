# KD (arXiv 1503.02531): T 1, weights 0.5 and 0.5.
_base_ = './_base_/imagenet.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.5,
        method=[dict(loss=dict(type='KDLoss', temperature=1.0, loss_weight=0.5))],
    )
]
