"""Maps of networks in which words and picture share one softmax (joint attention, "MM-DiT"): Flux, SD3 and their kin.

There a word's map is its column of the whole softmax, for the picture's rows: what the pixel gives to the word of all
that it attends to, most of which is the picture. The methods were made for cross-attention, where the softmax is over
the text alone. The same numbers divided by the text's part of each pixel's attention are that: softmax over the text
of the same scores. So the losses get their maps divided in this way (`over_the_text`), and keep their mathematics and
their scales; maps are shown as the network has them.

Maps of several heads and blocks are averaged first and divided then: a head that looks at the picture alone has no say
in what the words mean to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..prompt.targets import Targets

_LEAST = 1e-12  # of the text's part, below which a pixel attends to no word


def over_the_text(maps: Tensor) -> Tensor:
    """Each pixel's attention [B, h, w, tokens] as a distribution over the tokens; zeros where it attends to none."""
    return maps / maps.sum(dim=-1, keepdim=True).clamp_min(_LEAST)


def looked_at(targets: Targets) -> Sequence[int]:
    """The tokens whose maps anyone looks at: the prompt's own, and, where an encoder fills up with its end token, which
    means something there (CLIP), all of them.
    """
    if targets.pads_with_end or not targets.content:
        return range(targets.length)
    return targets.content
