_base_ = './student.py'
model = dict(backbone=dict(base_channels=32), neck=dict(in_channels=[32, 64, 128, 256]))
train_cfg = dict(max_epochs=14)
