# DKD (arXiv 2203.08679): T 1, the pair's beta, warm-up over 1 epoch.
_base_ = './_base_/imagenet.py'
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=1.0,
        method=[
            dict(loss=dict(type='DKDLoss', alpha=1.0, beta='{beta}', temperature=1.0), warmup=1)
        ],
    )
]
