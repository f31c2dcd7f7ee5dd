"""MMDetection's side: adapters for its heads.

Importing this room registers all that a detection config may name::

    custom_imports = dict(imports=['sortkd_det.detection'])
"""

from sortkd_det import distill, hooks, losses, processors  # noqa: F401 (they register)

from .roi_heads import RoIHeadAdapter

__all__ = ['RoIHeadAdapter']
