# CTKD (arXiv 2211.16231): KD at a learned temperature.
_base_ = './_base_/cifar100.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(
                loss=dict(
                    type='KDLoss',
                    temperature=dict(type='LearnableTemperature', ramp=10),
                    loss_weight=0.9,
                )
            )
        ],
    )
]
