"""Which conditionings, and which rows of a network call, belong to a prompt whose targets are controlled."""

import torch

from ...core.prompt.targets import Targets

# An extra key in a conditioning's dict survives to the sampler, through ControlNet, Combine and area nodes.
KEY = "prompt_fidelity_targets"


def carries(cond: dict, targets: Targets) -> bool:
    """Whether a conditioning was encoded from the very prompt that `targets` were found in."""
    other = cond.get(KEY)
    return other is not None and (
        other is targets or (other.prompt == targets.prompt and other.content == targets.content)
    )


def controlled(guider, targets: Targets) -> list[dict]:
    """The guider's conditionings of the controlled prompt, in its order, negatives left out."""
    lists = (conds for name, conds in guider.conds.items() if name != "negative")
    return [cond for conds in lists for cond in conds if carries(cond, targets)]


class Rows:
    """Finds the controlled rows in the calls of the network.

    A chunk of a call's rows is known by the uuid of its conditioning, never by its place: the host puts the negative
    rows first, guiders for three prompts number theirs differently, and a call may hold any of them. Where the host
    has copied the positive's entry, uuid included, into the negatives (it does for area prompts), index 0 tells.
    """

    def __init__(self, guider, targets: Targets):
        self.guider = guider
        self.tokens = {cond["uuid"]: cond["cross_attn"].shape[1] for cond in controlled(guider, targets)}

    @property
    def copied(self) -> set:
        """Asked at each call: the host copies entries only after a run of ours has been made."""
        return {cond["uuid"] for cond in self.guider.conds.get("negative", []) if cond.get("uuid") in self.tokens}

    def chunks(self, transformer_options: dict) -> list[int]:
        """The controlled chunks of a call, by their place in it."""
        calls, copied = zip(transformer_options["uuids"], transformer_options["cond_or_uncond"]), self.copied
        return [
            chunk
            for chunk, (uuid, kind) in enumerate(calls)
            if uuid in self.tokens and (uuid not in copied or kind == 0)
        ]

    def select(self, tensor: torch.Tensor, transformer_options: dict) -> torch.Tensor | None:
        """The controlled rows of `tensor` [rows, ...], or None where the call has none. The first of several chunks is
        taken.
        """
        chunks = self.chunks(transformer_options)
        if not chunks:
            return None
        size = tensor.shape[0] // len(transformer_options["uuids"])
        return tensor[chunks[0] * size : (chunks[0] + 1) * size]
