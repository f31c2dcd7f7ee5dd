# DKD between standardised logits (arXiv 2403.01427); T and weight of the pair, over DKD's beta.
_base_ = './_base_/cifar100.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=1.0,
        method=[
            dict(
                processors=['StandardizeLogits'],
                student_processors=['StandardizeLogits'],
                loss=dict(
                    type='DKDLoss',
                    alpha=1.0,
                    beta='{beta}',
                    temperature='{lskd_temperature}',
                    loss_weight='{lskd_weight}',
                ),
                warmup=20,
            )
        ],
    )
]
