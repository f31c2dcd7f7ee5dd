# A thin Faster R-CNN.
_base_ = ['../_base_/students/frcnn_thin.py', './data.py']
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64]),
    roi_head=dict(bbox_head=dict(num_classes=3)),
)
