# Tiny-ImageNet at 64 pixels, in the schedule of the ranking alignment paper (ICIC 2025): batch 128,
# lr 0.05, 240 epochs; the epochs at which the rate falls are CIFAR-100's. The pair says which
# networks.
#   python tools/train.py configs/tiny_imagenet.py --pair ResNet18-MobileNetV2 --method sortkd
_base_ = './_base_/classification.py'

data_root = 'data/tiny_imagenet'
model = dict(
    num_classes=200,
    data_preprocessor=dict(
        type='sortkd_det.ImagePreprocessor',
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2302, 0.2265, 0.2262),
        padding=8,
    ),
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

# -- settings of the methods, written as --cfg-options would have them --

# KD (arXiv 1503.02531), and SortKD (arXiv 2508.16544): T and weights as on CIFAR-100.
_kd = {
    'student_weight': 0.1,
    'method.0.loss.temperature': 4.0,
    'method.0.loss.loss_weight': 0.9,
}
methods = dict(
    kd=_kd,
    sortkd=_kd,
    # DKD (arXiv 2203.08679); beta is CIFAR-100's for these students, our start.
    dkd={
        'method.0.loss.beta': 8.0,
        'method.0.loss.temperature': 4.0,
        'method.0.warmup': 20,
    },
    # LSKD (arXiv 2403.01427): T 2 and weight 9, CIFAR-100's.
    lskd={
        'student_weight': 0.1,
        'method.0.loss.temperature': 2.0,
        'method.0.loss.loss_weight': 9.0,
    },
    # Ranking alignment (ICIC 2025): lambda 10, two views.
    ranking={
        'model.data_preprocessor.num_views': 2,
        'method.0.views': 'all',
        'method.0.loss.loss_weight': 10.0,
    },
)
pairs = {
    f'ResNet18-{student}': dict(
        teacher='ResNet18',
        checkpoint='checkpoints/tiny_imagenet/ResNet18.pth',
        settings={'model.type': f'sortkd_det.tiny_imagenet/{student}'},
    )
    for student in ('MobileNetV2', 'ShuffleV2')
}
