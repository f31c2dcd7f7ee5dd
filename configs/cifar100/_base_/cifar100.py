# CIFAR-100 as the papers train it: 240 epochs, batch 64. What differs between the pairs of teacher
# and student stands in one table; a method's file asks for it by '{name}', and
# `python tools/train.py configs/cifar100/sortkd.py --pair resnet32x4-resnet8x4` joins the two.
_base_ = ['../../_base_/classification.py', './pairs.py']

data_root = 'data/cifar100'
preprocessor = dict(
    type='sortkd_det.ImagePreprocessor', mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)
)
model = dict(type='sortkd_det.cifar/{student}', num_classes=100, data_preprocessor=preprocessor)
teacher = dict(
    config=dict(
        model=dict(
            type='sortkd_det.cifar/{teacher}', num_classes=100, data_preprocessor=preprocessor
        )
    ),
    checkpoint='checkpoints/cifar100/{teacher}.pth',
)

train_dataloader = dict(
    batch_size=64,
    num_workers=0,  # the set lives in memory, a batch is one indexing
    dataset=dict(type='sortkd_det.CIFAR', root=data_root, name='cifar100', split='train'),
)
val_dataloader = dict(
    num_workers=0,
    dataset=dict(type='sortkd_det.CIFAR', root=data_root, name='cifar100', split='test'),
)
test_dataloader = val_dataloader

train_cfg = dict(by_epoch=True, max_epochs=240, val_interval=1)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr='{lr}', momentum=0.9, weight_decay=5e-4),
)
param_scheduler = dict(type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1)
auto_scale_lr = dict(base_batch_size=64)
