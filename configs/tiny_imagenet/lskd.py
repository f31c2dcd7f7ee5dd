# LSKD (arXiv 2403.01427): T 2 and weight 9, CIFAR-100's.
_base_ = './_base_/tiny_imagenet.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(
                processors=['StandardizeLogits'],
                student_processors=['StandardizeLogits'],
                loss=dict(type='KDLoss', temperature=2.0, loss_weight=9.0),
            )
        ],
    )
]
