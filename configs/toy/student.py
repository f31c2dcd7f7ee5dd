_base_ = ['../_base_/students/frcnn_toy.py', '../_base_/schedules/toy.py']
model = dict(backbone=dict(base_channels=8), neck=dict(in_channels=[8, 16, 32, 64]))
