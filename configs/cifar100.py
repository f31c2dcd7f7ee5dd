# CIFAR-100 as the papers train it: 240 epochs, batch 64. The pair says which networks.
#   python tools/train.py configs/cifar100.py --pair resnet32x4-resnet8x4 --method sortkd
_base_ = './_base_/classification.py'

data_root = 'data/cifar100'
model = dict(
    num_classes=100,
    data_preprocessor=dict(
        type='sortkd_det.ImagePreprocessor',
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
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
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1)
auto_scale_lr = dict(base_batch_size=64)

# -- settings of the authors' released runs, written as --cfg-options would have them --

# KD (arXiv 1503.02531): T 4, weights 0.1 and 0.9. SortKD is arXiv 2508.16544, from the same.
_own, _kd = {'student_weight': 0.1}, {'method.0.loss.loss_weight': 0.9}
_T4 = {'method.0.loss.temperature': 4.0}
# DKD (arXiv 2203.08679): T 4, the pair's beta, warm-up over 20 epochs.
_dkd = {'method.0.warmup': 20}
# SLD, ranking alignment and MLKD see two views of each image.
_two_views = {'model.data_preprocessor.num_views': 2}
# MLKD (CVPR 2023): in the weak view rows, their relations and those of the classes, where the
# teacher is in doubt; in the strong view all rows.
_mlkd = [
    dict(loss=dict(type=loss, temperature=[2, 3, 4, 5, 6], **in_loss), weight=0.9, **in_term)
    for loss, in_loss, in_term in (
        ('KDLoss', {}, {'confidence_quantile': 0.5}),
        ('BatchGramLoss', {}, {'confidence_quantile': 0.5}),
        ('ClassGramLoss', {'confidence_quantile': 0.5}, {}),
        ('KDLoss', {}, {'views': 'second'}),
    )
]
methods = dict(
    kd={**_own, **_kd, **_T4},
    sortkd={**_own, **_kd, **_T4},
    ctkd={**_own, **_kd},  # arXiv 2211.16231
    sortctkd={**_own, **_kd},
    dkd={**_dkd, **_T4},
    sortdkd={**_dkd, **_T4},
    lskd=_own,  # arXiv 2403.01427; the pair's temperature and weight
    sortlskd=_own,
    lskd_dkd=_dkd,  # T and weight of the pair, over DKD's beta
    mlkd={**_own, **_two_views, 'method': _mlkd},
    # Ranking alignment (ICIC 2025): lambda 5, lr 0.025, 300 epochs.
    ranking={
        **_two_views,
        'method.0.views': 'all',
        'method.0.loss.loss_weight': 5.0,
        'optim_wrapper.optimizer.lr': 0.025,
        'train_cfg.max_epochs': 300,
    },
    # SLD (arXiv 2504.20108): the student's own swap from epoch 151 on.
    sld={**_own, **_kd, **_two_views, 'method.1.loss.loss_weight': 0.9, 'method.1.begin': 151},
)

# Teacher, student, lr and DKD's beta (arXiv 2203.08679), temperature and weight of LSKD (arXiv
# 2403.01427), the learning rate of SLD (arXiv 2504.20108), which is our start for MLKD too.
_rows = [
    ('resnet56', 'resnet20', 0.05, 2.0, 2.0, 9.0, 0.025),
    ('resnet110', 'resnet32', 0.05, 2.0, 2.0, 9.0, 0.025),
    ('resnet32x4', 'resnet8x4', 0.05, 8.0, 2.0, 9.0, 0.025),
    ('wrn_40_2', 'wrn_16_2', 0.05, 6.0, 2.0, 9.0, 0.025),
    ('wrn_40_2', 'wrn_40_1', 0.05, 6.0, 2.0, 9.0, 0.025),
    ('vgg13', 'vgg8', 0.05, 6.0, 3.0, 9.0, 0.025),
    ('vgg13', 'MobileNetV2', 0.01, 6.0, 3.0, 9.0, 0.008),
    ('ResNet50', 'MobileNetV2', 0.01, 8.0, 3.0, 1.0, 0.008),
    ('resnet32x4', 'ShuffleV1', 0.01, 8.0, 2.0, 9.0, 0.009),
    ('resnet32x4', 'ShuffleV2', 0.01, 8.0, 2.0, 9.0, 0.008),
    ('wrn_40_2', 'ShuffleV1', 0.01, 8.0, 2.0, 9.0, 0.01),
]
pairs = {
    f'{teacher}-{student}': dict(
        teacher=teacher,
        checkpoint=f'checkpoints/cifar100/{teacher}.pth',
        settings={
            'model.type': f'sortkd_det.cifar/{student}',
            'optim_wrapper.optimizer.lr': lr,
        },
        methods=dict(
            dkd={'method.0.loss.beta': beta},
            sortdkd={'method.0.loss.beta': beta},
            lskd={'method.0.loss.temperature': T, 'method.0.loss.loss_weight': weight},
            sortlskd={'method.0.loss.temperature': T, 'method.0.loss.loss_weight': weight},
            lskd_dkd={
                'method.0.loss.beta': beta,
                'method.0.loss.temperature': T,
                'method.0.loss.loss_weight': weight,
            },
            mlkd={'optim_wrapper.optimizer.lr': sld_lr},
            sld={'optim_wrapper.optimizer.lr': sld_lr},
        ),
    )
    for teacher, student, lr, beta, T, weight, sld_lr in _rows
}
