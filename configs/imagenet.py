# ImageNet as DKD's authors trained it (arXiv 2203.08679): 100 epochs, batch 512, lr 0.2. The pair
# says which networks.
#   python tools/train.py configs/imagenet.py --pair ResNet34-ResNet18 --method sortkd
_base_ = './_base_/classification.py'

data_root = 'data/imagenet'
model = dict(
    data_preprocessor=dict(
        type='sortkd_det.ImagePreprocessor',
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        padding=0,  # images are cropped where they are decoded
        channels_last=True,
    )
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

# -- settings of the methods, written as --cfg-options would have them --

# KD (arXiv 1503.02531), and SortKD (arXiv 2508.16544): T 1, weights 0.5 and 0.5.
_kd = {
    'student_weight': 0.5,
    'method.0.loss.temperature': 1.0,
    'method.0.loss.loss_weight': 0.5,
}
# DKD (arXiv 2203.08679): T 1, the pair's beta, warm-up over 1 epoch.
_dkd = {'method.0.loss.temperature': 1.0, 'method.0.warmup': 1}
methods = dict(
    kd=_kd,
    sortkd=_kd,
    dkd=_dkd,
    sortdkd=_dkd,
    # SLD (arXiv 2504.20108): two views. The student's own swap joins when the rate first falls, as
    # on CIFAR-100: our start, the paper's epoch for ImageNet is not at hand.
    sld={
        'model.data_preprocessor.num_views': 2,
        'method.0.loss.loss_weight': 0.5,
        'method.1.loss.loss_weight': 0.5,
        'method.1.begin': 31,
    },
)

# Teacher, student, DKD's beta (arXiv 2203.08679), SLD's weight of the student's own loss (arXiv
# 2504.20108), torchvision's weights of the teacher.
_rows = [
    ('ResNet34', 'ResNet18', 0.5, 0.5, 'resnet34-b627a593.pth'),
    ('ResNet50', 'MobileNetV1', 2.0, 0.5, 'resnet50-0676ba61.pth'),
    ('ResNet50', 'MobileNetV2', 2.0, 1.0, 'resnet50-0676ba61.pth'),
]
pairs = {
    f'{teacher}-{student}': dict(
        teacher=teacher,
        checkpoint=f'https://download.pytorch.org/models/{weights}',
        settings={'model.type': f'sortkd_det.imagenet/{student}'},
        methods=dict(
            dkd={'method.0.loss.beta': beta},
            sortdkd={'method.0.loss.beta': beta},
            sld={'student_weight': sld_own},
        ),
    )
    for teacher, student, beta, sld_own, weights in _rows
}
