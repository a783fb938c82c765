"""How many objects of a list of sentences the tokens at their positions spell, for each tokenizer of a CLIP."""

from prompt_fidelity.core.prompt import extract
from prompt_fidelity.core.prompt.targets import Stretch
from prompt_fidelity.core.prompt.tokens import build_targets
from prompt_fidelity.host.encoders.encoder import encoders_of
from prompt_fidelity.host.encoders.words import Words
from prompt_fidelity.host.text import read


def spelled_objects(clip, sentences: list[str]) -> dict[str, tuple[int, int]]:
    """(objects that are spelled, objects) by the key of the encoder's tokens.

    An object is spelled if the pieces of its tokens, put together, hold its name.
    """
    own, scenes, counts = Words(clip), [extract(sentence) for sentence in sentences], {}
    for sentence, scene in zip(sentences, scenes, strict=True):
        tokens = clip.tokenize(sentence, return_word_ids=True)
        for encoder in encoders_of(clip, tokens):
            reading = read(own, encoder, tokens[encoder.key], sentence)
            targets = build_targets(sentence, scene, [reading], [Stretch(0, len(reading.pieces))])
            names = [target.name for target in targets.objects if _spell(targets, target)]
            spelled, all_of_them = counts.get(encoder.key, (0, 0))
            counts[encoder.key] = (spelled + len(names), all_of_them + len(scene.objects))
    return counts


def _spell(targets, target) -> bool:
    pieces = "".join(targets.pieces[targets.content.index(p)] for p in target.positions)
    return "".join(target.name.lower().split()) in pieces
