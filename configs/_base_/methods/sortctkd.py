# Curriculum temperature with a sorted teacher (arXiv 2508.16544); settings as in ctkd.py.
_base_ = './ctkd.py'
method = [dict(processors=[dict(type='SortLogits')], **_base_.method[0])]
