"""The demo models' text encoder: the host's CLIP, small; of its token table only the rows of captions are stored."""

from __future__ import annotations

import torch
from torch import Tensor

TOKENS = 16  # token positions, start and end included: with 77, padding would take most of the attention

CLIP_CONFIG = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": TOKENS,
    "eos_token_id": 49407,
}
VOCABULARY_SIZE = 49408
_EMBEDDING = "transformer.text_model.embeddings.token_embedding."
TOKEN_TABLE = _EMBEDDING + "weight"


def token_rows(prefix: str) -> str:
    """The name of the stored rows of the token table, in a file that keeps its text encoder under `prefix`."""
    return prefix + _EMBEDDING + "rows"


def token_ids(prefix: str) -> str:
    """The name of the list that says which tokens the stored rows are."""
    return prefix + _EMBEDDING + "ids"


def text_weights(stored: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The text encoder's weights as the host names them, the token table filled up: words never trained on say
    nothing.
    """
    rows, ids = token_rows(prefix), token_ids(prefix)
    weights = {
        "clip_l." + name.removeprefix(prefix): value.float()
        for name, value in stored.items()
        if name.startswith(prefix) and name not in (rows, ids)
    }
    width = CLIP_CONFIG["hidden_size"]
    table = torch.zeros(VOCABULARY_SIZE, width)
    table[stored[ids].long()] = stored[rows].float()
    weights["clip_l." + TOKEN_TABLE] = table
    weights["clip_l.transformer.text_projection.weight"] = torch.eye(width)
    return weights
