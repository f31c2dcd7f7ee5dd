# Tiny-ImageNet at 64 pixels, in the schedule of the ranking alignment paper (ICIC 2025): batch 128,
# lr 0.05, 240 epochs; the epochs at which the rate falls are CIFAR-100's.
_base_ = '../../_base_/classification.py'
pairs = {
    f'ResNet18-{student}': dict(teacher='ResNet18', student=student)
    for student in ('MobileNetV2', 'ShuffleV2')
}
data_root = 'data/tiny_imagenet'
preprocessor = dict(
    type='sortkd_det.ImagePreprocessor',
    mean=(0.4802, 0.4481, 0.3975),
    std=(0.2302, 0.2265, 0.2262),
    padding=8,
)
model = dict(
    type='sortkd_det.tiny_imagenet/{student}', num_classes=200, data_preprocessor=preprocessor
)
teacher = dict(
    config=dict(
        model=dict(
            type='sortkd_det.tiny_imagenet/{teacher}',
            num_classes=200,
            data_preprocessor=preprocessor,
        )
    ),
    checkpoint='checkpoints/tiny_imagenet/{teacher}.pth',
)
train_dataloader = dict(
    batch_size=128,
    num_workers=0,  # the set lives in memory, a batch is one indexing
    dataset=dict(type='sortkd_det.TinyImageNet', root=data_root, split='train'),
)
val_dataloader = dict(
    num_workers=0, dataset=dict(type='sortkd_det.TinyImageNet', root=data_root, split='val')
)
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=240, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1)
auto_scale_lr = dict(base_batch_size=128)
