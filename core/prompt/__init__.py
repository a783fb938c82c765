"""From a prompt to its targets: the host's prompt syntax, what the English in it says, where its tokens are.

Words and token positions only: no attention, no host.
"""

from .extract import extract
from .listed import find_words
from .marks import marked
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
    "marked",
    "parse_weights",
]
