_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'
# Nothing is frozen but the batch norm statistics: one image per GPU gives none.
model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(1, 2, 4, 6),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmdetection/v2.0/third_party/mobilenet_v2_batch256_imagenet-ff34753d.pth',
        ),
    ),
    neck=dict(in_channels=[24, 32, 96, 320]),
)
