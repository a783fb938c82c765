"""The fidelity benchmark in the real host: its pictures are KSampler's, its placebo is of the method's size, and it can
be resumed.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
from patience import finished
from prompt_fidelity.core.methods import METHODS

import nodes as host

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import competition  # noqa: E402
from measuring.artist import Artist  # noqa: E402
from measuring.cases import Case  # noqa: E402
from measuring.contestants import contestants  # noqa: E402
from measuring.judge import ClipJudge, ShapeJudge, cost_in_quality  # noqa: E402
from measuring.placebo import RandomEdit, RandomMix, direction  # noqa: E402
from prompt_fidelity.core.layout import solve  # noqa: E402
from prompt_fidelity.core.methods.base import EditSite  # noqa: E402

PROMPT = "a red ball and a blue ring"


@pytest.fixture(scope="module")
def artist():
    with torch.inference_mode():
        artist = Artist.with_demo_model()
    artist.sampling |= {"steps": 6}
    return artist


@pytest.fixture(scope="module")
def encoded(artist):
    with torch.inference_mode():
        return artist.encode(PROMPT)


def run(*options: str, folder: Path) -> tuple[dict, str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "fidelity.py"), "--json", "--out", str(folder), *options]
    log = folder.with_name(f"{folder.name}.log")
    ended = finished(command, "the benchmark", log)
    text = log.read_text()
    assert ended == 0, text
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1]), text


def test_its_plain_pictures_are_ksamplers(artist, encoded):
    s = artist.sampling
    with torch.inference_mode():
        drawn = artist.plain(encoded[0], [4, 9])
        for seed, picture in zip((4, 9), drawn.pictures):
            latent = {"samples": torch.zeros(1, 4, s["height"] // 8, s["width"] // 8)}
            negative = artist.encode("")[0]
            alone = host.KSampler().sample(
                artist.model,
                seed,
                s["steps"],
                s["cfg"],
                s["sampler"],
                s["scheduler"],
                encoded[0],
                negative,
                latent,
                1.0,
            )[0]
            expected = host.VAEDecode().decode(artist.vae, alone)[0][0].clamp(0, 1)
            torch.testing.assert_close(picture, expected, atol=1e-3, rtol=0)


def test_the_placebo_moves_as_far_at_the_same_steps_in_a_random_direction(artist, encoded):
    method = contestants(["attend_and_excite"], ["attend_and_excite.refine_steps=1"], family="demo")[0].method
    seen: list[tuple[float, torch.Tensor]] = []

    def note(module, args):
        seen.append((float(args[1].flatten()[0]), args[0][-2:].clone()))  # the conditional rows come last

    with torch.inference_mode():
        drawn = artist.with_method(method, encoded[1], encoded[0], [1, 2])
        first = max(drawn.moves)
        handle = artist.model.model.diffusion_model.register_forward_pre_hook(note)
        try:
            artist.with_placebo(method, drawn.moves, encoded[1], encoded[0], [1, 2])
            plain = artist.plain(encoded[0], [1, 2])
        finally:
            handle.remove()
    steps = artist.sampling["steps"]
    assert len(seen) == 2 * steps and 0 < len(drawn.moves) < steps
    pushed, unpushed = seen[0][1], seen[steps][1]
    for image in range(2):
        push = pushed[image] - unpushed[image]
        length = torch.linalg.vector_norm(push) / torch.linalg.vector_norm(unpushed[image])
        assert float(length) == pytest.approx(float(drawn.moves[first][image]), rel=1e-3)
        assert float(
            (push / torch.linalg.vector_norm(push) * direction(push.shape, image + 1, 0)).sum()
        ) == pytest.approx(1.0, abs=1e-3)
    assert plain.moves == {} and plain.moved == [0.0, 0.0]


def test_the_placebo_of_an_edit_has_its_size_but_neither_its_words_nor_its_place(encoded):
    method, targets = METHODS["attention_regulation"](), encoded[1]
    scores = torch.randn(2, 3, 64, targets.length, generator=torch.Generator().manual_seed(0))

    def change(edit, image=slice(None)):
        return edit.edit(scores[image], targets, EditSite("layer", 0, 0.0, (8, 8))) - scores[image]

    real, placebo = change(method), change(RandomEdit(method, [5, 6]))
    torch.testing.assert_close(
        torch.linalg.vector_norm(placebo, dim=(1, 2, 3)), torch.linalg.vector_norm(real, dim=(1, 2, 3))
    )
    assert not torch.allclose(placebo, real)
    assert not placebo[..., [p for p in range(targets.length) if p not in targets.content]].any()
    torch.testing.assert_close(change(RandomEdit(method, [6]), slice(1, 2))[0], placebo[1])


def test_the_placebo_of_a_mixture_has_its_size_in_every_pixel_but_not_its_direction(encoded):
    method, layout = METHODS["space_time"](), solve(encoded[1], 128, 128)
    generator = torch.Generator().manual_seed(0)
    whole, local = torch.randn(2, 64, 8, generator=generator), torch.randn(2, 2, 64, 8, generator=generator)
    regions, weights = method.regions(layout, 8, 8).flatten(1), method.weights(0.0, layout)

    def change(mixture):
        return mixture.mix(whole, local, regions, weights, torch.zeros_like(whole)) - whole

    real, placebo = change(method), change(RandomMix(method, [5, 6]))
    torch.testing.assert_close(placebo.norm(dim=-1), real.norm(dim=-1), rtol=1e-4, atol=1e-5)
    assert real.norm() > 1 and abs(float((placebo * real).sum() / real.norm() ** 2)) < 0.2
    torch.testing.assert_close(change(RandomMix(method, [5, 6])), placebo)


def test_space_time_gets_a_layout_of_every_seeds_own(artist, encoded):
    method = contestants(["space_time"], [], family="demo")[0].method
    with torch.inference_mode():
        layouts = [artist.layout(method, encoded[1], encoded[0], seed) for seed in (1, 2)]
        assert layouts[0] != layouts[1] and artist.layout(METHODS["t_sam"](), encoded[1], encoded[0], 1) is None
        both = artist.with_method(method, encoded[1], encoded[0], [1, 2])
        alone = artist.with_method(method, encoded[1], encoded[0], [2])
    assert torch.equal(both.pictures[1], alone.pictures[0])


def test_directions_are_unit_reproducible_and_different():
    one, other = direction(torch.Size([4, 16, 16]), 1, 0), direction(torch.Size([4, 16, 16]), 1, 1)
    assert float(torch.linalg.vector_norm(one)) == pytest.approx(1.0, rel=1e-5)
    assert torch.equal(one, direction(torch.Size([4, 16, 16]), 1, 0))
    assert abs(float((one * other).sum())) < 0.2


def test_contestants_are_named_with_presets_settings_and_combinations():
    preset, combined = contestants(
        ["plain", "t_sam:paper", "t_sam+syngen"], ["syngen.step_size=3", "t_sam.refine_at=0,0.3"]
    )
    assert preset.method.settings.formula == "difference" and preset.method.settings.refine_at == (0.0, 0.3)
    assert [part.method.name for part in combined.method.parts] == ["t_sam", "syngen"]
    assert combined.method.parts[1].method.settings.step_size == 3.0
    for names, overrides, message in (
        (["nonsense"], [], "no method nonsense"),
        (["t_sam:huge"], [], "no preset huge"),
        (["t_sam"], ["t_sam.size=3"], "no setting size"),
        (["t_sam"], ["size=3"], "METHOD.SETTING=VALUE"),
    ):
        with pytest.raises(ValueError, match=message):
            contestants(names, overrides)


def test_quality_cost_of_the_plain_picture_is_nothing(artist, encoded):
    picture = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0)).numpy()
    assert cost_in_quality(picture, picture) == {"distance": 0.0, "saturation": 0.0}
    grey = picture.mean(-1, keepdims=True).repeat(3, -1)
    assert cost_in_quality(grey, picture)["saturation"] < -0.1
    assert set(ShapeJudge()(picture.repeat(8, 0).repeat(8, 1), Case("a red ball", (("ball", "red"),)), None)) == set(
        ShapeJudge.figures
    )


def test_competition_is_read_off_the_maps(artist, encoded):
    apart = torch.zeros(3, 4, 4)
    apart[0, 0, 0], apart[1, 0, 0], apart[2, 3, 3] = 0.5, 0.3, 0.2
    peak, mean, overlap = competition.properties(apart).unbind(1)
    torch.testing.assert_close(peak, torch.tensor([0.5, 0.3, 0.2]))
    torch.testing.assert_close(mean, peak / 16)
    torch.testing.assert_close(overlap, torch.tensor([1.0, 1.0, 0.0]))
    assert competition.auc([2.0, 3.0], [1.0, 2.0]) == 0.875
    with torch.inference_mode():
        drawn, maps = artist.observed(encoded[1], encoded[0], [4, 9])
        plain = artist.plain(encoded[0], [4, 9])
    assert maps.shape == (2, 2, 16, 16) and torch.equal(drawn.pictures, plain.pictures)


def test_a_missing_clip_model_or_checkpoint_is_said_clearly(tmp_path):
    with pytest.raises(FileNotFoundError, match="--clip-vision"):
        ClipJudge.of_file(None)
    with pytest.raises(FileNotFoundError, match="nothing.safetensors is not there"):
        ClipJudge.of_file(tmp_path / "nothing.safetensors")
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        Artist.with_checkpoint(tmp_path / "nothing.safetensors", 512, 20, 7.0)


def test_it_goes_on_where_it_was_stopped_and_answers_the_same(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red ball\na blue bar and a green pole\n")
    common = ("--prompts", str(prompts), "--seeds", "3-4", "--methods", "syngen", "--steps", "4", "--sheet", "1")
    answer, _ = run(*common, folder=tmp_path)
    table = tmp_path / "fidelity_shapes.csv"
    written = table.read_text().splitlines()
    assert len(written) == 1 + 2 * 2 * 3  # plain, method, placebo
    assert (tmp_path / "fidelity.png").stat().st_size > 1000
    assert set(answer["methods"]) == {"plain", "placebo", "syngen"}
    for figures in answer["methods"].values():
        assert {"presence", "binding", "success", "p_value", "p_placebo", "time_ratio"} <= set(figures)
    table.write_text("\n".join(written[:8]) + "\n")
    again, _ = run(*common, folder=tmp_path)
    assert len(table.read_text().splitlines()) == len(written)
    for name in answer["methods"]:
        for figure in ("presence", "binding", "success", "p_value", "p_placebo"):
            assert answer["methods"][name][figure] == again["methods"][name][figure]


def test_in_the_short_form_the_best_method_beats_plain_sampling(tmp_path):
    answer, printed = run("--short", folder=tmp_path)
    figures = answer["methods"]
    assert {"plain", "placebo"} < set(figures)
    assert all(0 <= one[name] <= 1 for one in figures.values() for name in ("presence", "binding", "success"))
    best = max(one["success"] for name, one in figures.items() if name not in ("plain", "placebo"))
    assert best > figures["plain"]["success"] > 0.1, printed
    assert best > figures["placebo"]["success"], printed
