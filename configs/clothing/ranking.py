# Ranking alignment (ICIC 2025): lambda 5, two views.
_base_ = './_base_/clothing.py'
model = dict(data_preprocessor=dict(num_views=2))
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=1.0,
        method=[
            dict(
                loss=dict(type='RankingLoss', distance='l2', strength=1.0, loss_weight=5.0),
                views='all',
            )
        ],
    )
]
