# KD (arXiv 1503.02531): T and weights as on CIFAR-100.
_base_ = './_base_/tiny_imagenet.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[dict(loss=dict(type='KDLoss', temperature=4.0, loss_weight=0.9))],
    )
]
