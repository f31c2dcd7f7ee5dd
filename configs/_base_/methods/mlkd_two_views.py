# Multi-level logit distillation (CVPR 2023) where the data gives a weak and a strong view.
_base_ = './mlkd.py'
temperature = [2, 3, 4, 5, 6]
method = [
    *_base_.method,
    dict(loss=dict(type='KDLoss', temperature=temperature), views='second'),
    dict(loss=dict(type='BatchGramLoss', temperature=temperature), views='second'),
    dict(loss=dict(type='ClassGramLoss', temperature=temperature), views='second'),
]
