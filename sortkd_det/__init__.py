"""sortkd_det: teach a small detector from a large one through its logits.

Importing the package imports nothing else, so that ``sortkd_det.functional``
stays usable with torch alone. Configs register every part by
``custom_imports = dict(imports=['sortkd_det.detection'])``.
"""
