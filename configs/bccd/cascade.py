# A teacher of the Faster R-CNN in student.py.
_base_ = './teacher.py'
from mmengine.hub import get_config  # noqa: E402

model = dict(roi_head=get_config('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py').model.roi_head)
