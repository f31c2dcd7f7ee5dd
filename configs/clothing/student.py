# Photographs of clothes, ten classes, at 40 pixels: a set that trains on a CPU in minutes.
#   python tools/train.py configs/clothing/student.py --method sortkd
_base_ = '../_base_/classification.py'

data_root = 'data/clothing'
model = dict(
    type='sortkd_det.cifar/resnet8',
    num_classes=10,
    data_preprocessor=dict(
        type='sortkd_det.ImagePreprocessor',
        mean=(0.58, 0.55, 0.53),
        std=(0.29, 0.29, 0.29),
        padding=4,
    ),
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

# -- settings of the methods, written as --cfg-options would have them --

# KD (arXiv 1503.02531), and SortKD (arXiv 2508.16544): T 4, weights 0.1 and 0.9, as on CIFAR-100.
_own, _kd = {'student_weight': 0.1}, {'method.0.loss.loss_weight': 0.9}
_T4 = {'method.0.loss.temperature': 4.0}
# DKD (arXiv 2203.08679): T 4, beta 2, warm-up over 5 epochs.
_dkd = {**_T4, 'method.0.loss.beta': 2.0, 'method.0.warmup': 5}
_two_views = {'model.data_preprocessor.num_views': 2}
methods = dict(
    kd={**_own, **_kd, **_T4},
    sortkd={**_own, **_kd, **_T4},
    sortctkd={**_own, **_kd, 'audit.interval': 20},
    dkd=_dkd,
    sortdkd=_dkd,
    sortlskd={**_own, 'method.0.loss.temperature': 2.0, 'method.0.loss.loss_weight': 9.0},
    # Ranking alignment (ICIC 2025): lambda 5, half the learning rate, as on CIFAR-100.
    ranking={
        **_two_views,
        'method.0.views': 'all',
        'method.0.loss.loss_weight': 5.0,
        'optim_wrapper.optimizer.lr': 0.025,
    },
    # SLD (arXiv 2504.20108): half the learning rate; its own swap from epoch 13 of 20 on, as 151
    # of 240.
    sld={
        **_own,
        **_kd,
        **_two_views,
        'method.1.loss.loss_weight': 0.9,
        'method.1.begin': 13,
        'optim_wrapper.optimizer.lr': 0.025,
    },
)
pairs = {
    'resnet20-resnet8': dict(
        teacher='resnet20', checkpoint='work_dirs/clothing/teacher/epoch_30.pth'
    )
}
