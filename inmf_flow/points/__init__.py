"""The point set: (time in seconds, frequency in hertz, magnitude) on any grid or none."""

from inmf_flow.points.blocks import Block, GridBlock, ScatteredBlock
from inmf_flow.points.cells import cell_widths
from inmf_flow.points.pointset import PointSet

__all__ = ["Block", "GridBlock", "PointSet", "ScatteredBlock", "cell_widths"]
