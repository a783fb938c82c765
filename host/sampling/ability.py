"""What the methods can do with a model's network, in the artist's words."""

from __future__ import annotations

from ...core.methods import METHODS, ScoreEdit
from ..networks.families import network_of
from ..networks.unet import UNet


def abilities(patcher) -> str:
    """Two sentences about the network of a host's ModelPatcher. Raises HostError for one that nothing works with."""
    network = network_of(patcher.model)
    if isinstance(network, UNet):
        return "Its network is a U-Net with an attention to the words: every method was made for such."
    meeting = "share one attention" if network.joint else "meet in an attention to the words"
    edits = " and ".join(each.title for each in METHODS.values() if _edits_here(each, network.joint))
    return (
        f"Its network is a transformer ({network.title}) in which words and picture {meeting}: every method works, and "
        f"those that edit the attention ({edits}) do most."
    )


def _edits_here(method, joint: bool) -> bool:
    return issubclass(method, ScoreEdit) and not method().suits(joint)
