"""Lets the tests of this folder import their helper modules (import mode importlib adds no folder to the path)."""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent))

# The tensors here are so small that threads only wait for each other: one is twenty times as fast on a busy machine.
torch.set_num_threads(1)
