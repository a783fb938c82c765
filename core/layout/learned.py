"""The published layout predictor: where an object stands in a photograph, as learned from COCO's captions.

Wu et al., ICCV 2023, arXiv 2304.03869. A RoBERTa-base encoder reads the caption; a learned vector is added to the
embeddings (after their layer norm) of the tokens that name objects; a linear layer and a mixture head give, per token,
five bivariate Gaussians of the centre. The released network takes the mean of one component, drawn by its weight, at
the first token of the object's head noun.

The released checkpoint is fairseq's RoBERTa under the training code's names; here its weights are put into
`transformers`' RoBERTa, which the host brings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import MethodError
from ..prompt import parse_weights
from ..prompt.targets import Targets

COMPONENTS = 5
# Published sizes of RoBERTa-base that a checkpoint's shapes do not show.
_HEAD_SIZE = 64
_TEXT = "encoder.model.encoder.sentence_encoder."
_HEAD = "bbox_head.Decoder."
_LAYER_NAMES = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True)
class Mixture:
    """Per token, the distribution of the centre: `weight` [n, 5], `mean` and `deviation` [n, 5, 2], `correlation` [n,
    5].
    """

    weight: Tensor
    mean: Tensor
    deviation: Tensor
    correlation: Tensor

    def centres(self, seed: int | None) -> Tensor:
        """[n, 2]: the mean of the likeliest component, or with a seed of one drawn by weight, as published."""
        if seed is None:
            chosen = self.weight.argmax(dim=-1)
        else:
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.multinomial(self.weight, 1, generator=generator)[:, 0]
        return self.mean[torch.arange(len(chosen)), chosen]


def mixture(raw: Tensor) -> Mixture:
    """The head's numbers [n, 30] as a mixture; order: weights, x, y, log deviations of x and y, correlations."""
    weight, x, y, log_x, log_y, correlation = raw.split(COMPONENTS, dim=-1)
    return Mixture(
        weight.softmax(dim=-1),
        torch.stack([x, y], dim=-1),
        torch.stack([log_x, log_y], dim=-1).exp(),
        correlation.tanh().clamp(-0.95, 0.95),
    )


class LearnedPredictor(nn.Module):
    """`text` is a `transformers` RobertaModel without pooler; `objects` [hidden] the vector of object tokens."""

    def __init__(self, text: nn.Module, hidden: int):
        super().__init__()
        self.text = text
        self.objects = nn.Parameter(torch.zeros(hidden))
        self.output = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 6 * COMPONENTS)

    def forward(self, tokens: Tensor, is_object: Tensor) -> Mixture:
        """One sentence: token ids [n], start and end included, and which name objects, bool [n]."""
        embedded = self.text.embeddings(input_ids=tokens[None])  # [1, n, hidden]
        embedded = embedded + self.objects * is_object[None, :, None]
        features = self.text.encoder(embedded)[0][0]  # [n, hidden]
        return mixture(self.head(self.output(features)))


def load(state: Mapping[str, Tensor]) -> LearnedPredictor:
    """The predictor from a checkpoint's state dict (or the dict that holds it under "state_dict").

    Raises MethodError for a file that is no such checkpoint, naming what it lacks.
    """
    from transformers import RobertaConfig, RobertaModel  # takes seconds to import, and only this needs it

    state = state.get("state_dict", state)
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    needed = [
        *(
            f"{_TEXT}{part}"
            for part in ("embed_tokens.weight", "embed_positions.weight", "object_embedding", "layers.0.fc1.weight")
        ),
        *(f"{_HEAD}{part}" for part in ("output_Layer.weight", "box_predictor.xy_bivariate.weight")),
    ]
    missing = [name for name in needed if name not in state]
    if missing:
        raise MethodError(
            f"This file is not the published layout predictor: it has no {missing[0]}. "
            "Get the checkpoint from the paper's repository (Diffusion-SpaceTime-Attn), or choose the solver."
        )
    vocabulary, hidden = state[f"{_TEXT}embed_tokens.weight"].shape
    layers = 1 + max(
        int(found[1]) for name in state if (found := _LAYER.match(name.removeprefix(_TEXT))) and name.startswith(_TEXT)
    )
    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(hidden // _HEAD_SIZE, 1),
        intermediate_size=state[f"{_TEXT}layers.0.fc1.weight"].shape[0],
        max_position_embeddings=state[f"{_TEXT}embed_positions.weight"].shape[0],
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    model = LearnedPredictor(RobertaModel(config, add_pooling_layer=False), hidden)
    weights = _renamed(state)
    # The caption has one sentence, for which fairseq's RoBERTa adds nothing.
    weights["text.embeddings.token_type_embeddings.weight"] = torch.zeros(1, hidden)
    weights |= {name: buffer for name, buffer in model.named_buffers() if name in model.state_dict()}
    lacking, _ = model.load_state_dict(weights, strict=False)
    if lacking:
        raise MethodError(
            f"The layout predictor's file is incomplete: {len(lacking)} of its weights are missing, such as "
            f"{lacking[0]}."
        )
    return model.float().eval()


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's weights under this module's names; those of parts that are not used are left out."""
    weights = {
        "objects": state[f"{_TEXT}object_embedding"].flatten(),
        "text.embeddings.word_embeddings.weight": state[f"{_TEXT}embed_tokens.weight"],
        "text.embeddings.position_embeddings.weight": state[f"{_TEXT}embed_positions.weight"],
    }
    for kind in ("weight", "bias"):
        renames = {
            f"text.embeddings.LayerNorm.{kind}": f"{_TEXT}layernorm_embedding.{kind}",
            f"output.{kind}": f"{_HEAD}output_Layer.{kind}",
            f"head.{kind}": f"{_HEAD}box_predictor.xy_bivariate.{kind}",
        }
        weights |= {ours: state[theirs] for ours, theirs in renames.items() if theirs in state}
    for name, tensor in state.items():
        found = _LAYER.fullmatch(name.removeprefix(_TEXT)) if name.startswith(_TEXT) else None
        if found and found[2] in _LAYER_NAMES:
            weights[f"text.encoder.layer.{found[1]}.{_LAYER_NAMES[found[2]]}.{found[3]}"] = tensor
    return weights


def predict(model: LearnedPredictor, tokenizer, targets: Targets, seed: int | None = None) -> Tensor:
    """Centres [objects, 2] (x, y in 0..1). `tokenizer` is RoBERTa's fast one, with offsets.

    Raises MethodError for an object whose noun lies beyond what the predictor reads.
    """
    text = parse_weights(targets.prompt).text
    longest = model.text.config.max_position_embeddings - 2
    encoded = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=longest)
    tokens, offsets = torch.tensor(encoded["input_ids"]), encoded["offset_mapping"]
    pieces = []
    for target, (start, end) in zip(targets.objects, head_nouns(text, targets)):
        own = [i for i, (a, b) in enumerate(offsets) if a < end and start < b]
        if not own:
            raise MethodError(
                f'"{target.phrase}" comes after the {longest} tokens that the layout predictor reads. Shorten the '
                f"prompt, or choose the solver."
            )
        pieces.append(own)
    is_object = torch.zeros(len(tokens), dtype=torch.bool)
    is_object[[i for own in pieces for i in own]] = True
    device = model.objects.device
    # Outside inference mode: a model that is kept must hold ordinary tensors.
    with torch.no_grad():
        found = model(tokens.to(device), is_object.to(device))
    return found.centres(seed)[[own[0] for own in pieces]].clamp(0, 1).cpu()


def head_nouns(text: str, targets: Targets) -> list[tuple[int, int]]:
    """Characters [start, end) of the last word of each object's name; objects of one name take its mentions in turn."""
    spans: list[tuple[int, int]] = []
    for target in targets.objects:
        words = target.name.split()
        name = re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE)
        matches = [found.span() for found in name.finditer(text)] or [
            found.span() for found in re.finditer(re.escape(words[-1]), text, re.IGNORECASE)
        ]
        ends = [(end - len(words[-1]), end) for _, end in matches] or [(len(text), len(text))]
        spans.append(next((span for span in ends if span not in spans), ends[-1]))
    return spans
