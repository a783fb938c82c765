"""Which network is of which kind: one line a family. A family that fits no kind gets a file of its own.

`usual` are the blocks whose maps carry the meaning of the words, as shares of the stack's depth, from studies of one
network of the family:
- Flux: double blocks 15–18 of 19, ConceptAttention (2502.04320).
- Stable Diffusion 3: blocks 4–15, JEDI (2505.19166); taken for those of SD3.5-large, which has 38.
Where there is no study, all blocks are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ..errors import HostError
from .base import Network
from .cross import Cross
from .hidream import HiDream
from .joint import Joint
from .transformer import Family
from .unet import UNet

_DOUBLE_AND_SINGLE = (("double", "double_blocks"), ("single", "single_blocks"))
_LIKE_FLUX = {"stacks": _DOUBLE_AND_SINGLE, "announces": True, "usual": (("double", 15 / 19, 1.0),)}
_WITH_REFERENCES = ("text", "picture", "references")
_REFERENCES_BETWEEN = ("text", "references", "picture")
_PICTURE_FIRST = ("picture", "text")

JOINT = {
    "model_base.Flux": Family("Flux", order=_WITH_REFERENCES, **_LIKE_FLUX),
    "model_base.Chroma": Family("Chroma", **_LIKE_FLUX),
    "model_base.ChromaRadiance": Family("Chroma Radiance", **_LIKE_FLUX),
    "model_base.LongCatImage": Family("LongCat-Image", order=_WITH_REFERENCES, **_LIKE_FLUX),
    "model_base.Flux2": Family("Flux.2", _DOUBLE_AND_SINGLE, announces=True, order=_WITH_REFERENCES, front=512),
    "model_base.SD3": Family(
        "Stable Diffusion 3", (("joint", "joint_blocks"),), usual=(("joint", 4 / 38, 16 / 38),), kept=16
    ),
    "model_base.QwenImage": Family(
        "Qwen-Image",
        (("double", "transformer_blocks"),),
        width="inner_dim",
        kept=16,
        announces=True,
        order=_WITH_REFERENCES,
    ),
    "model_base.Lumina2": Family(
        "Lumina 2",
        (("double", "layers"),),
        width="dim",
        before=("noise_refiner",),
        kept=25,
        announces=True,
        multiple="pad_tokens_multiple",
    ),
    "model_base.HunyuanImage21": Family("HunyuanImage 2.1", _DOUBLE_AND_SINGLE, announces=True, further=True),
    "model_base.AuraFlow": Family(
        "AuraFlow",
        (("double", "double_layers"), ("single", "single_layers")),
        width="init_x_linear.out_features",
        registers=8,
    ),
    "model_base.Omnigen2": Family(
        "OmniGen2", (("layer", "layers"),), before=("noise_refiner",), order=_REFERENCES_BETWEEN
    ),
    "model_base.Boogu": Family(
        "Boogu",
        (("double", "double_stream_layers"), ("single", "single_stream_layers")),
        before=("noise_refiner",),
        order=_REFERENCES_BETWEEN,
    ),
    "model_base.Krea2": Family(
        "Krea 2",
        (("single", "blocks"),),
        patch="patch",
        width="first.out_features",
        announces=True,
        order=_WITH_REFERENCES,
    ),
    "model_base.Lens": Family(
        "Lens",
        (("double", "transformer_blocks"),),
        patch="",
        width="img_in.out_features",
        announces=True,
        order=_PICTURE_FIRST,
    ),
    "model_base.MageFlow": Family(
        "MageFlow",
        (("double", "transformer_blocks"),),
        patch="",
        width="img_in.out_features",
        announces=True,
        order=_WITH_REFERENCES,
    ),
    "model_base.Ideogram4": Family("Ideogram 4", (("layer", "layers"),), patch="", width="input_proj.out_features"),
    "model_base.JoyImage": Family(
        "JoyImage",
        (("double", "double_blocks"),),
        width="img_in.out_channels",
        announces=True,
        order=("picture", "references", "text"),
    ),
    "model_base.PixelDiTT2I": Family("PixelDiT", (("patch", "patch_blocks"),)),
    "model_base.ErnieImage": Family(
        "Ernie-Image", (("layer", "layers"),), order=_PICTURE_FIRST, words="self_attention", hands_on=False
    ),
}
CROSS = {
    "model_base.CosmosPredict2": Family(
        "Cosmos-Predict2",
        (("block", "blocks"),),
        patch="patch_spatial",
        width="model_channels",
        kept=18,
        words="cross_attn",
    ),
    "model_base.Anima": Family(
        "Anima", (("block", "blocks"),), patch="patch_spatial", width="model_channels", kept=18, words="cross_attn"
    ),
    "model_base.WAN21": Family("Wan", (("block", "blocks"),), width="dim", kept=18, words="cross_attn"),
    "model_base.Kandinsky5": Family(
        "Kandinsky 5", (("block", "visual_transformer_blocks"),), width="model_dim", kept=18, words="cross_attention"
    ),
    # A picture of under 33 cells divides by zero in its table of positions.
    "model_base.PixArt": Family(
        "PixArt", (("block", "blocks"),), kept=18, words="cross_attn", hands_on=False, least=64
    ),
    "model_base.HunyuanDiT": Family(
        "HunyuanDiT",
        (("block", "blocks"),),
        kept=18,
        words="attn2",
        hands_on=False,
        further=True,
        beside=("text_embedding_mask", "encoder_hidden_states_t5", "text_embedding_mask_t5"),
    ),
}
HIDREAM = Family(
    "HiDream",
    (("double", "double_stream_blocks"), ("single", "single_stream_blocks")),
    width="inner_dim",
    order=_PICTURE_FIRST,
    beside=("encoder_hidden_states_llama3",),
)
FAMILIES: dict[str, Callable[[torch.nn.Module], Network]] = {
    "ldm.modules.diffusionmodules.openaimodel.UNetModel": UNet,
    "model_base.HiDream": partial(HiDream, HIDREAM),
    **{name: partial(Joint, family) for name, family in JOINT.items()},
    **{name: partial(Cross, family) for name, family in CROSS.items()},
}


def network_of(model: torch.nn.Module) -> Network:
    """What is known of the diffusion model inside `model`, the host's BaseModel.

    Raises HostError for one in which words and picture do not meet in a way that is known.
    """
    network = model.diffusion_model
    for kind in (*type(model).__mro__, *type(network).__mro__):
        make = FAMILIES.get(f"{kind.__module__}.{kind.__qualname__}".removeprefix("comfy."))
        found = None if make is None else make(model)
        if found is not None and found.sites:
            return found
    raise HostError(
        f"It is not known where words and picture meet in this model ({type(network).__name__}), so there is nothing "
        "to guide. Prompt Fidelity works with Stable Diffusion 1.x, 2.x, SDXL, Stable Diffusion 3, Flux and others "
        "(its README lists them), and models built like them; connect such a checkpoint."
    )
