# DKD (arXiv 2203.08679): T 4, alpha 1, beta 2.
_base_ = './_base_/clothing.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=1.0,
        method=[dict(loss=dict(type='DKDLoss', alpha=1.0, beta=2.0, temperature=4.0), warmup=5)],
    )
]
