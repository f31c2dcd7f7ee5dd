# DKD (arXiv 2203.08679); beta is CIFAR-100's for these students, our start.
_base_ = './_base_/tiny_imagenet.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=1.0,
        method=[dict(loss=dict(type='DKDLoss', alpha=1.0, beta=8.0, temperature=4.0), warmup=20)],
    )
]
