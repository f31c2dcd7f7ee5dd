# KD (arXiv 1503.02531): T 4, weights 0.1 and 0.9.
_base_ = './_base_/clothing.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[dict(loss=dict(type='KDLoss', temperature=4.0, loss_weight=0.9))],
    )
]
