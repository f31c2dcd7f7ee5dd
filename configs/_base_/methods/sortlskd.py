# Logit standardisation with a sorted teacher (arXiv 2508.16544); settings as in lskd.py.
_base_ = './lskd.py'
method = [{**_base_.method[0], 'processors': ['StandardizeLogits', dict(type='SortLogits')]}]
