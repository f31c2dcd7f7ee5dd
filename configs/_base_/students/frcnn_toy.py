# The thin Faster R-CNN for the toy set: twelve classes, few objects on small images. Half of the
# RoIs are foreground, for each step to show more of the classes. RoIs that half cover an object are
# left out: what they show is neither the object nor background, and a teacher's guess.
_base_ = './frcnn_thin.py'
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=12)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=150),
        rcnn=dict(
            assigner=dict(pos_iou_thr=0.6, neg_iou_thr=0.4, min_pos_iou=0.6),
            sampler=dict(pos_fraction=0.5),
        ),
    ),
)
