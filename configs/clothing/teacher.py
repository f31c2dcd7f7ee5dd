# The teacher, alone and twice as long.
_base_ = './_base_/clothing.py'
model = dict(type='sortkd_det.cifar/{teacher}')
train_cfg = dict(max_epochs=60)
param_scheduler = dict(T_max=60)
