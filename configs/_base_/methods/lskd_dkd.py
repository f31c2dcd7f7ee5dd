# DKD between standardised logits (arXiv 2403.01427): T as in lskd.py, alpha and beta as in dkd.py.
_base_ = './lskd.py'
method = [{**_base_.method[0], 'loss': dict(type='DKDLoss', alpha=1.0, beta=0.25, temperature=2.0)}]
