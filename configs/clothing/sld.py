# SLD (arXiv 2504.20108): two views; the student's own swap from epoch 13 of 20 on, as 151 of 240.
_base_ = './_base_/clothing.py'
_loss = dict(type='KDLoss', temperature=[1, 2, 3, 4, 5, 6], loss_weight=0.9)
model = dict(data_preprocessor=dict(num_views=2))
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(processors=['SwapLogits'], loss=_loss, views='all'),
            dict(target='student', processors=['SwapLogits'], loss=_loss, views='all', begin=13),
        ],
    )
]
