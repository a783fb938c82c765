"""Calls of the network with rows of our own behind the host's."""

from __future__ import annotations

import torch

# How many rows, in the transformer options of such a call.
KEY = "prompt_fidelity_rows_added"


def rows_taken(value, rows: torch.Tensor, count: int):
    """What the host hands to a call of `count` rows, of the rows with these indices: tensors, and lists and dicts of
    such (references, ControlNets' guidance), whose first dimension is the rows; all else as it is.
    """
    if isinstance(value, torch.Tensor):
        return value[rows.to(value.device)] if value.ndim and value.shape[0] == count else value
    if isinstance(value, (list, tuple)):
        return type(value)(rows_taken(part, rows, count) for part in value)
    if isinstance(value, dict):
        return {name: rows_taken(part, rows, count) for name, part in value.items()}
    return value
