# The student alone.
_base_ = './_base_/imagenet.py'
