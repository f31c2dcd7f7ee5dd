"""Draws what a run logged and what sorting does; knows neither mmcv nor mmdet.

Modules are imported by name, so that matplotlib and rich are loaded where a
figure or a bar is drawn, and nowhere else.
"""
