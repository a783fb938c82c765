"""What the methods can do with a model's network, in the artist's words."""

from __future__ import annotations

from ..networks.families import network_of
from ..networks.unet import UNet


def abilities(patcher) -> str:
    """A sentence about the network of a host's ModelPatcher. Raises HostError for one that nothing works with."""
    network = network_of(patcher.model)
    if isinstance(network, UNet):
        return "Its network is a U-Net with an attention to the words: every method was made for such."
    if network.joint:
        meeting, most = "share one attention", "FOCUS was made for such"
    else:
        meeting, most = "meet in an attention to the words", "Attention Regulation, which edits it, does most"
    return (
        f"Its network is a transformer ({network.title}) in which words and picture {meeting}: every method works, and "
        f"{most}."
    )
