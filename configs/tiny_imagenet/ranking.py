# Ranking alignment (ICIC 2025): lambda 10, two views.
_base_ = './_base_/tiny_imagenet.py'
model = dict(data_preprocessor=dict(num_views=2))
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=1.0,
        method=[
            dict(
                loss=dict(type='RankingLoss', distance='l2', strength=1.0, loss_weight=10.0),
                views='all',
            )
        ],
    )
]
