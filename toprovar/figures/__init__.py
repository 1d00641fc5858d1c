"""Figures drawn with Pillow alone, which every ComfyUI has: a sheet, plots with axes, colours."""
