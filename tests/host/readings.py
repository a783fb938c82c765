"""The tokens of one encoder as the tests write them down: chunks of (piece, weight, word id), word id 0 for start, end
and padding.
"""

from prompt_fidelity.core.prompt.targets import Stretch
from prompt_fidelity.core.prompt.tokens import Reading, build_targets


def reading_of(chunks, knows_weights: bool = True) -> Reading:
    flat = [
        (column, piece, word) for column, (piece, _, word) in enumerate(t for chunk in chunks for t in chunk) if word
    ]
    columns, pieces, words = zip(*flat, strict=True) if flat else ((), (), ())
    return Reading(pieces, words, columns, knows_weights)


def targets_in(typed: str, scene, chunks):
    """The targets of a prompt whose chunks lie one after the other on the token axis, as those of CLIP do."""
    size = len(chunks[0]) if chunks else 0
    stretches = [Stretch(start * size, size) for start in range(len(chunks))]
    return build_targets(typed, scene, [reading_of(chunks)], stretches)
