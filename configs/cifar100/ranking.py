# Ranking alignment (ICIC 2025): lambda 5, lr 0.025, 300 epochs, two views.
_base_ = './_base_/cifar100.py'
model = dict(data_preprocessor=dict(num_views=2))
optim_wrapper = dict(optimizer=dict(lr=0.025))
train_cfg = dict(max_epochs=300)
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
