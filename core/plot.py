"""The losses of a run as a line chart."""

from __future__ import annotations

from math import ceil, floor, log10

from PIL import Image, ImageDraw
from torch import Tensor

from .record import Record
from .render import _font, _line_height, _shortened, _to_tensor
