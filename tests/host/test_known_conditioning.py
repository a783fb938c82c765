"""Targets of conditionings that other nodes have encoded: they lie where ours do, or a sentence says why not."""

import pytest
import torch
from hostkit import models
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.known_conditioning import find_in_conditioning
from prompt_fidelity.host.networks.rows import KEY
from prompt_fidelity.host.text import encode_with_targets

TEXT = "a black car and a white clock"


def encoded(clip, text: str) -> list:
    """As CLIP Text Encode makes it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_what_clip_text_encode_made_is_known(family):
    clip = models(family)[1]
    conditioning, targets = find_in_conditioning(clip, encoded(clip, TEXT), TEXT)
    own, expected = encode_with_targets(clip, TEXT)
    assert targets.objects == expected.objects
    assert conditioning[0][1][KEY] == own[0][1][KEY]
    assert torch.equal(conditioning[0][0], own[0][0])


def test_only_the_entries_that_hold_the_text_are_marked():
    clip = models("sd1")[1]
    both = [*encoded(clip, "a view of mountains at night in the rain"), *encoded(clip, TEXT)]
    conditioning, _ = find_in_conditioning(clip, both, TEXT)
    assert [KEY in entry[1] for entry in conditioning] == [False, True]
    assert all(KEY not in entry[1] for entry in both)  # what came in stays as it was


def test_parts_of_a_prompt_are_found_behind_each_other():
    clip = models("sd1")[1]
    rows = torch.cat([encoded(clip, part)[0][0] for part in ("a black car", "a white clock left of a lamp")], dim=1)
    text = "a black car BREAK a white clock left of a lamp"
    conditioning, targets = find_in_conditioning(clip, [[rows, {}]], text)
    assert [target.name for target in targets.objects] == ["car", "clock", "lamp"]
    assert [target.positions for target in targets.objects[:2]] == [(3,), (77 + 3,)]
    assert targets.length == 154 and len(targets.stretches) == 2
    assert [(r.subject, r.object) for r in targets.relations] == [(1, 2)]
    size = len(targets.content)
    assert targets.text_attention.shape == (size, size)


def test_the_handle_of_parts_goes_through_a_run():
    from hostkit import sample
    from prompt_fidelity.core.methods import METHODS
    from prompt_fidelity.host.sampling.install import attach

    model, clip = models("sd1")[:2]
    rows = torch.cat([encoded(clip, part)[0][0] for part in ("a black car", "a white clock")], dim=1)
    conditioning, targets = find_in_conditioning(clip, [[rows, {}]], "a black car BREAK a white clock")
    patched, record = attach(model, METHODS["attend_and_excite"](), targets)
    sample(patched, positive=conditioning)
    assert record.updates > 0


def test_weights_of_another_kind_do_not_hide_the_words():
    clip = models("sd1")[1]
    given = encoded(clip, TEXT)
    given[0][0] = given[0][0].clone()
    given[0][0][:, 3] *= 1.3
    assert KEY in find_in_conditioning(clip, given, TEXT)[0][0][1]


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("a green tree on a hill under clouds", "nowhere in the conditioning"),
        ("a cat " * 60, "154 tokens|has 77 tokens"),
    ],
)
def test_another_text_is_refused(text, because):
    clip = models("sd1")[1]
    with pytest.raises(HostError, match=because):
        find_in_conditioning(clip, encoded(clip, TEXT), text)


def test_another_encoder_is_refused():
    with pytest.raises(HostError, match="another kind of text encoder"):
        find_in_conditioning(models("sd1")[1], encoded(models("sdxl")[1], TEXT), TEXT)


def test_marked_words_are_the_targets():
    clip = models("sd1")[1]
    _, targets = encode_with_targets(clip, "a (black car:1) and a white clock")
    assert [target.phrase for target in targets.objects] == ["black car"]
    plain = clip.encode_from_tokens_scheduled(clip.tokenize("a black car and a white clock"))[0][0]
    marked = clip.encode_from_tokens_scheduled(clip.tokenize("a (black car:1) and a white clock"))[0][0]
    assert torch.equal(plain, marked)
