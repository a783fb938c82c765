"""Prompt -> scene: the host's prompt syntax, and what the English in it describes. Pure text, no tokenizer."""

from .extract import extract
from .listed import find_words
from .scene import Scene, SceneAttribute, SceneObject, SceneRelation, WordNotFound
from .syntax import Prompt, parse_weights

__all__ = [
    "Prompt",
    "Scene",
    "SceneAttribute",
    "SceneObject",
    "SceneRelation",
    "WordNotFound",
    "extract",
    "find_words",
    "parse_weights",
]
