# The student alone.
_base_ = './_base_/tiny_imagenet.py'
