# The teacher, alone and three times as long.
_base_ = './_base_/clothing.py'
work_dir = 'work_dirs/clothing/teacher'
model = dict(type='sortkd_det.cifar/{teacher}')
train_cfg = dict(max_epochs=60)
param_scheduler = dict(T_max=60)
