# Decoupled distillation from the sorted teacher (arXiv 2508.16544).
_base_ = './dkd.py'
method = [dict(processors=[dict(type='SortLogits')], **_base_.method[0])]
