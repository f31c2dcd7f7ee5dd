# The teacher, alone and half again as long, so that it has not learnt its training images by heart.
_base_ = './student.py'
work_dir = 'work_dirs/clothing/teacher'
model = dict(type='sortkd_det.cifar/resnet20')
train_cfg = dict(max_epochs=30)
param_scheduler = dict(T_max=30)
