"""TACA: the paper's softmax written out in NumPy, its schedule, and what it says of networks that it isn't made for."""

import numpy as np
import pytest
import torch
from prompt_fidelity.core.control.scores import ScoreEditor
from prompt_fidelity.core.methods.base import EditSite
from prompt_fidelity.core.methods.taca import Taca, TacaSettings
from toy import make_targets

SITE = EditSite("double 0", 0, 0.0, (4, 6))


def written_out(words: np.ndarray, picture: np.ndarray, gamma: float) -> np.ndarray:
    """Equation 10: [pixels, tokens] of one head, from the scores of the words and of the picture."""
    boosted, others = np.exp(gamma * words), np.exp(picture)
    return boosted / (boosted.sum(1, keepdims=True) + others.sum(1, keepdims=True))


def test_the_words_probabilities_are_the_papers():
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(24, 77, generator=generator, dtype=torch.float64)
    picture = torch.randn(24, 200, generator=generator, dtype=torch.float64)
    edited = Taca().edit(words[None, None], make_targets(), SITE)[0, 0]
    ours = torch.cat([edited, picture], dim=1).softmax(1)[:, :77]
    np.testing.assert_allclose(ours.numpy(), written_out(words.numpy(), picture.numpy(), 1.2), rtol=1e-12)


def test_strength_goes_from_none_to_the_whole_and_a_mask_stays_shut():
    scores = torch.tensor([[[[2.0, -1.0, -torch.inf]]]])
    for strength, factor in ((0.0, 1.0), (0.5, 1.1), (1.0, 1.2), (10.0, 3.0)):
        edited = Taca().edit(scores, make_targets(), SITE, strength)
        torch.testing.assert_close(edited, torch.tensor([[[[2.0, -1.0, -torch.inf]]]]) * factor)
    assert scores[0, 0, 0, 0] == 2.0, "what it is given stays as it is"


def test_it_acts_in_the_first_tenth_of_the_run():
    editor = ScoreEditor(Taca(), make_targets())
    assert [editor.wants(step / 30) for step in range(5)] == [True, True, True, False, False]
    assert ScoreEditor(Taca(TacaSettings(end=0.5)), make_targets()).wants(0.4)


def test_what_it_watches_and_what_it_says():
    assert Taca().watched(make_targets()) == [("car", [3]), ("clock", [7])]
    bare = make_targets(())
    assert Taca().watched(bare) == [("the prompt's words", list(bare.content))] and Taca().applies(bare)
    assert Taca().suits(joint=True) == [] and "Attention Regulation" in Taca().suits(joint=False)[0]
    empty = make_targets((), "")
    assert not Taca().applies(empty) and "no words" in Taca().check(empty)[0]


def test_less_than_one_cannot_be_chosen():
    field = next(field for field in TacaSettings.__dataclass_fields__.values() if field.name == "temperature")
    assert field.metadata["minimum"] == 1.0 and field.default == pytest.approx(1.2)
