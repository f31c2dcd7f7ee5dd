_base_ = ['../_base_/students/frcnn_r50.py', '../_base_/schedules/coco_180k.py']
