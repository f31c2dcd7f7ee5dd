_base_ = ['../_base_/students/frcnn_thin.py', '../_base_/schedules/toy.py']
model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256]),
    roi_head=dict(bbox_head=dict(num_classes=12)),
)
train_cfg = dict(max_epochs=12)
