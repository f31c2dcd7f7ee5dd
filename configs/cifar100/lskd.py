# LSKD (arXiv 2403.01427): KD between standardised logits, the pair's temperature and weight.
_base_ = './_base_/cifar100.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(
                processors=['StandardizeLogits'],
                student_processors=['StandardizeLogits'],
                loss=dict(
                    type='KDLoss', temperature='{lskd_temperature}', loss_weight='{lskd_weight}'
                ),
            )
        ],
    )
]
