_base_ = './gfl_student.py'
model = dict(backbone=dict(base_channels=32), neck=dict(in_channels=[32, 64, 128, 256]))
train_dataloader = dict(dataset=dict(indices=None))
train_cfg = dict(max_epochs=14, val_interval=7)
default_hooks = dict(checkpoint=dict(interval=7))
