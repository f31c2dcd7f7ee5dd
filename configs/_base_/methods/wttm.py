# Weighted transformed teacher matching (arXiv 2402.11148); gamma as in ttm.py.
_base_ = './ttm.py'
method = [dict(loss=dict(weighted=True, **_base_.method[0].loss))]
