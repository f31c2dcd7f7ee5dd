# The student alone.
_base_ = './_base_/clothing.py'
