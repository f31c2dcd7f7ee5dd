# SortKD (arXiv 2508.16544): KD from the sorted teacher.
_base_ = './kd.py'
method = [dict(processors=[dict(type='SortLogits')], **_base_.method[0])]
