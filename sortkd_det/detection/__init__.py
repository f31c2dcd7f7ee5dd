"""MMDetection's side: adapters for its heads.

Importing this room makes all that a detection config may name known to the registries::

    custom_imports = dict(imports=['sortkd_det.detection'])
"""

from .roi_heads import RoIHeadAdapter

__all__ = ['RoIHeadAdapter']
