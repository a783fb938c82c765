"""Which passes of the network draw the picture, and which are made for a gradient alone."""

import torch

# Under this key of the run's transformer options lies an instance (the host copies dicts and lists there, but not
# objects) whose `active` says that the pass at work, though it is differentiated, is the step's own.
KEY = "prompt_fidelity_guidance"


def draws_the_picture(tensor: torch.Tensor, transformer_options: dict | None) -> bool:
    """Whether the pass that `tensor` belongs to is a step's own: edits, mixes and recordings are for those."""
    return not tensor.requires_grad or getattr((transformer_options or {}).get(KEY), "active", False)
