# ImageNet as DKD's authors trained it (arXiv 2203.08679): 100 epochs, batch 512, lr 0.2.
_base_ = '../../_base_/classification.py'
_torchvision = 'https://download.pytorch.org/models'
_columns = ('teacher', 'student', 'beta', 'sld_own', 'checkpoint')
_rows = [
    ('ResNet34', 'ResNet18', 0.5, 0.5, f'{_torchvision}/resnet34-b627a593.pth'),
    ('ResNet50', 'MobileNetV1', 2.0, 0.5, f'{_torchvision}/resnet50-0676ba61.pth'),
    ('ResNet50', 'MobileNetV2', 2.0, 1.0, f'{_torchvision}/resnet50-0676ba61.pth'),
]
pairs = {f'{row[0]}-{row[1]}': dict(zip(_columns, row)) for row in _rows}  # noqa: B905
data_root = 'data/imagenet'
preprocessor = dict(
    type='sortkd_det.ImagePreprocessor',
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    padding=0,  # images are cropped where they are decoded
    channels_last=True,
)
model = dict(type='sortkd_det.imagenet/{student}', data_preprocessor=preprocessor)
teacher = dict(
    config=dict(model=dict(type='sortkd_det.imagenet/{teacher}', data_preprocessor=preprocessor)),
    checkpoint='{checkpoint}',
)
train_dataloader = dict(
    batch_size=64,  # on each of 8 GPUs
    num_workers=8,
    persistent_workers=True,
    dataset=dict(type='sortkd_det.ImageNet', root=data_root, split='train'),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(type='sortkd_det.ImageNet', root=data_root, split='val'),
)
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[30, 60, 90], gamma=0.1)
auto_scale_lr = dict(base_batch_size=512)
