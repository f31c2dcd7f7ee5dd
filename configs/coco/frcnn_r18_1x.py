_base_ = ['../_base_/students/frcnn_r18.py', '../_base_/schedules/coco_1x.py']
