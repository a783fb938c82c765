"""Where each object of a prompt goes: one box per object, predicted or drawn by hand. Geometry, never attention."""

from .boxes import Box, Layout, Placement
from .exchange import from_boxes, from_masks, to_boxes, to_elements
from .solver import SolverSettings, around, solve

__all__ = [
    "Box",
    "Layout",
    "Placement",
    "SolverSettings",
    "around",
    "from_boxes",
    "from_masks",
    "solve",
    "to_boxes",
    "to_elements",
]
