# Photographs of clothes, ten classes, at 40 pixels: a set that trains on a CPU in minutes.
_base_ = '../../_base_/classification.py'

pairs = {'resnet20-resnet8': dict(teacher='resnet20', student='resnet8')}
pair = 'resnet20-resnet8'

data_root = 'data/clothing'
preprocessor = dict(
    type='sortkd_det.ImagePreprocessor', mean=(0.58, 0.55, 0.53), std=(0.29, 0.29, 0.29), padding=4
)
model = dict(type='sortkd_det.cifar/{student}', num_classes=10, data_preprocessor=preprocessor)
teacher = dict(
    config=dict(
        model=dict(
            type='sortkd_det.cifar/{teacher}', num_classes=10, data_preprocessor=preprocessor
        )
    ),
    checkpoint='work_dirs/clothing/teacher/epoch_30.pth',
)

train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # the set lives in memory, a batch is one indexing
    dataset=dict(type='sortkd_det.ImageFolder', root=data_root, split='train', size=40),
)
val_dataloader = dict(
    num_workers=0,
    dataset=dict(type='sortkd_det.ImageFolder', root=data_root, split='val', size=40),
)
test_dataloader = dict(
    num_workers=0,
    dataset=dict(type='sortkd_det.ImageFolder', root=data_root, split='test', size=40),
)

train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
param_scheduler = dict(type='CosineAnnealingLR', T_max=20)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(type='CheckpointHook', interval=10, max_keep_ckpts=2, _delete_=True),
)
