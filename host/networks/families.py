"""Which network is of which kind: one line a family. A family that fits no kind gets a file of its own.

`usual` are the blocks whose maps carry the meaning of the words, as shares of the stack's depth, from studies of one
network of the family:
- Flux: double blocks 15–18 of 19, ConceptAttention (2502.04320).
- Stable Diffusion 3: blocks 4–15 of 38, JEDI (2505.19166), of SD3.5-large.
Where there is no study, all blocks are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ..errors import HostError
from .base import Network
from .cross import Cross
from .joint import Joint
from .transformer import Family
from .unet import UNet

_LDM = "comfy.ldm."
_DOUBLE_AND_SINGLE = (("double", "double_blocks"), ("single", "single_blocks"))

FLUX = Family(
    "Flux", _DOUBLE_AND_SINGLE, width="hidden_size", kept=14, announces=True, usual=(("double", 15 / 19, 1.0),)
)
SD3 = Family(
    "Stable Diffusion 3",
    (("joint", "joint_blocks"),),
    width="hidden_size",
    kept=14,
    usual=(("joint", 4 / 38, 16 / 38),),
)
COSMOS = Family(
    "Cosmos-Predict2",
    (("block", "blocks"),),
    patch="patch_spatial",
    width="model_channels",
    kept=18,
    words="cross_attn",
)
KANDINSKY = Family(
    "Kandinsky 5", (("block", "visual_transformer_blocks"),), width="model_dim", kept=18, words="cross_attention"
)

FAMILIES: dict[str, Callable[[torch.nn.Module], Network]] = {
    "modules.diffusionmodules.openaimodel.UNetModel": UNet,
    "flux.model.Flux": partial(Joint, FLUX),
    "modules.diffusionmodules.mmdit.MMDiT": partial(Joint, SD3),
    "cosmos.predict2.MiniTrainDIT": partial(Cross, COSMOS),
    "kandinsky5.model.Kandinsky5": partial(Cross, KANDINSKY),
}


def network_of(model: torch.nn.Module) -> Network:
    """What is known of the diffusion model inside `model`, the host's BaseModel.

    Raises HostError for one in which words and picture do not meet in a way that is known.
    """
    network = model.diffusion_model
    for kind in type(network).__mro__:
        make = FAMILIES.get(f"{kind.__module__}.{kind.__qualname__}".removeprefix(_LDM))
        found = None if make is None else make(model)
        if found is not None and found.sites:
            return found
    raise HostError(
        f"It is not known where words and picture meet in this model ({type(network).__name__}), so there is nothing "
        "to guide. Prompt Fidelity works with Stable Diffusion 1.x, 2.x, SDXL, Stable Diffusion 3, Flux and others "
        "(its README lists them), and models built like them; connect such a checkpoint."
    )
