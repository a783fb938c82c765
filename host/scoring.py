"""CLIP's embeddings of pictures and texts through the host's own CLIP and CLIP_VISION, and the similarities of the two.

Two facts of the host matter here. The encoder of Stable Diffusion 1 gives its pooled output *unprojected*, whatever the
file holds: it must be asked for the projection, without which text and picture have nothing to do with each other. And
a checkpoint's own text encoder often has no projection at all; the host then leaves whatever the memory held.
"""

from __future__ import annotations

from contextlib import contextmanager

import comfy.clip_model
import comfy.clip_vision
import comfy.model_management
import comfy.sd
import torch
from torch import Tensor

from ..core.prompt.targets import Targets
from ..core.search.pixels import clip_pixels
from ..core.search.similarity import Similarity, cosines, names_of, object_prompt
from .errors import HostError

_ADVICE = (
    "Load a whole CLIP model: its text part with Load CLIP and its picture part with Load CLIP Vision, both from "
    "the same file or model "
    "(for example CLIP ViT-L/14). For the demo model there is Load Demo CLIP."
)
# The encoders whose pooled output the host gives out, by the host's names for them and for their tokens.
_ENCODERS = (("clip_g", "g"), ("clip_h", "h"), ("clip_l", "l"))


class ClipScorer:
    """A text encoder and a vision tower that belong together. Texts are encoded once.

    Raises HostError, before anything is computed, if one of them has no projection into the common space or the widths
    differ.
    """

    def __init__(self, clip: comfy.sd.CLIP, vision: comfy.clip_vision.ClipVisionModel):
        self.clip = clip
        self.vision = vision
        self.key, self.encoder = _text_encoder(clip)
        width = _projection_of(self.encoder).shape[0]
        seen = _picture_width(vision)
        if width != seen:
            raise HostError(
                f"This CLIP and this CLIP Vision are not of one model: texts become {width} numbers, pictures {seen}. "
                f"Their similarity would mean nothing. {_ADVICE}"
            )
        self._known: dict[str, Tensor] = {}

    def texts(self, texts: list[str]) -> Tensor:
        """Projected embeddings [len(texts), D], float32 on the CPU."""
        return torch.stack([self._text(text) for text in texts])

    def score(self, images: Tensor, targets: Targets) -> Similarity:
        """The similarities of images [B, H, W, 3] in 0..1 with a prompt and its objects. Raises HostError without
        objects.
        """
        check_objects(targets)
        names = names_of(targets)
        pictures = self.vision.encode_image(images)["image_embeds"].float().cpu()
        found = cosines(pictures, self.texts([targets.prompt, *(object_prompt(name) for name in names)]))
        notes = ()
        if targets.chunk and targets.length > targets.chunk:
            notes = (
                f"CLIP reads the first {targets.chunk - 2} tokens of a prompt only; the rest of this one is not "
                "in its score.",
            )
        return Similarity(targets.prompt, names, found[:, 0], found[:, 1:], notes)

    def pictures(self, images: Tensor) -> Tensor:
        """Embeddings [B, D] of images [B, H, W, 3], differentiable. The tower must be loaded, and be in
        `host.sampling.grad.differentiable`.
        """
        vision = self.vision
        pixels = clip_pixels(
            images.to(vision.load_device).float(), vision.image_size, tuple(vision.image_mean), tuple(vision.image_std)
        )
        with _sums_apart(vision.model):
            return vision.model(pixel_values=pixels)[2]

    def _text(self, text: str) -> Tensor:
        if text not in self._known:
            self._known[text] = self._encoded(text)
        return self._known[text]

    def _encoded(self, text: str) -> Tensor:
        tokens = self.clip.tokenize(text)[self.key]
        self.clip.load_model()
        self.encoder.reset_clip_options()
        try:
            self.encoder.set_clip_options({"projected_pooled": True, "execution_device": self.clip.patcher.load_device})
            pooled = self.encoder.encode_token_weights(tokens)[1]
        finally:
            self.encoder.reset_clip_options()
        return pooled.float().cpu()[0]


def check_objects(targets: Targets) -> None:
    """Raises HostError for a prompt without objects."""
    if not targets.objects:
        raise HostError(
            "The prompt has no objects to look for in the picture. Name them in the list of words of Extract Targets."
        )


def _text_encoder(clip) -> tuple[str, torch.nn.Module]:
    """(the host's key for its tokens, the encoder) whose pooled output is the CLIP's."""
    model = clip.cond_stage_model
    present = [
        (key, getattr(model, name)) for name, key in _ENCODERS if hasattr(getattr(model, name, None), "transformer")
    ]
    # Encoders of other kinds beside a CLIP (T5 in SD3 and Flux) make the pooled output something else.
    others = [name for name in ("t5xxl", "llama") if getattr(model, name, None) is not None]
    if not present or others:
        raise HostError(
            f"The connected text encoder ({type(model).__name__}) is not a CLIP alone, so pictures cannot be "
            f"compared with it. {_ADVICE}"
        )
    return present[0]


def _projection_of(encoder) -> Tensor:
    """The text projection's weight [D, width]. Raises HostError if the file had none."""
    projection = getattr(encoder.transformer, "text_projection", None)
    weight = None if projection is None else projection.weight
    if weight is None or not _is_trained(weight):
        raise HostError(
            "This CLIP has no text projection, so its texts cannot be compared with pictures: text encoders "
            "inside Stable Diffusion 1 checkpoints lack it. " + _ADVICE
        )
    return weight


def _is_trained(weight: Tensor) -> bool:
    """Not what stands in for a missing projection: nought, the identity, or what the memory happened to hold."""
    values = weight.detach().float()
    if not bool(torch.isfinite(values).all()):
        return False
    size = float(values.square().mean().sqrt())
    square = values.shape[0] == values.shape[1]
    return 1e-6 < size < 100.0 and not (square and torch.equal(values, torch.eye(len(values), device=values.device)))


def _picture_width(vision) -> int:
    """Numbers in a picture's projected embedding. Raises HostError for towers that have no projection."""
    network = getattr(vision, "model", None)
    projection = getattr(network, "visual_projection", None)
    whole = isinstance(network, comfy.clip_model.CLIPVisionModelProjection) and not getattr(
        network.vision_model, "output_layernorm", False
    )
    if not whole or not isinstance(projection, torch.nn.Module):
        raise HostError(
            f"This CLIP Vision ({type(network).__name__}) does not project pictures into the space of texts. {_ADVICE}"
        )
    return projection.weight.shape[0]


@contextmanager
def _sums_apart(network: torch.nn.Module):
    """The host adds to its hidden states in place, which autograd refuses once a norm has kept them: the norms get a
    copy.
    """
    handles = []
    for module in network.modules():
        if isinstance(module, comfy.clip_model.CLIPLayer):
            handles += [norm.register_forward_pre_hook(_copied) for norm in (module.layer_norm1, module.layer_norm2)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copied(module, args):
    return tuple(arg.clone() if isinstance(arg, Tensor) and arg.requires_grad else arg for arg in args)
