"""The fidelity benchmark's statistics, prompts and table, none of which need the host."""

import sys
from math import comb
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from measuring.cases import Case, excite_cases, read_cases, read_seeds, relation_cases, scene_cases, shape_cases  # noqa: E402
from measuring.statistics import by_prompt, mcnemar, sign_test, wilson  # noqa: E402
from measuring.summary import by_kind, compare, lines  # noqa: E402
from measuring.table import Table  # noqa: E402
from tinyscenes import data as scenes  # noqa: E402

KINDS = ("animal and animal", "animal and object", "object and object")


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_gives_the_published_intervals(hits, total, low, high):
    assert wilson(hits, total) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_no_pictures_say_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert mcnemar([], []) == (0, 0, 1.0)


def test_mcnemar_counts_changed_pictures_only():
    before = [False] * 9 + [True] * 2 + [True] * 50 + [False] * 40
    after = [True] * 9 + [False] * 2 + [True] * 50 + [False] * 40
    gained, lost, p = mcnemar(before, after)
    assert (gained, lost) == (9, 2)
    assert p == pytest.approx(2 * sum(comb(11, k) for k in range(3)) / 2**11)
    assert mcnemar(after, before) == (2, 9, p)
    with pytest.raises(ValueError):
        mcnemar([True, False], [True])


@pytest.mark.parametrize(("more", "less", "p"), [(0, 0, 1.0), (3, 3, 1.0), (5, 0, 0.0625), (10, 0, 2 / 1024)])
def test_the_sign_test_is_exact(more, less, p):
    assert sign_test(more, less) == pytest.approx(p)


def test_pictures_of_one_prompt_count_once():
    prompts = ["a"] * 4 + ["b"] * 4 + ["c"] * 4 + ["d"]
    before = [0, 0, 0, 0] + [0, 1, 0, 1] + [1, 1, 1, 0] + [0]
    after = [1, 1, 1, 1] + [1, 0, 0, 1] + [1, 0, 1, 0] + [1]
    assert by_prompt(prompts, before, after) == (2, 1, 1.0)  # b gains one and loses one


def test_the_halves_share_no_prompt_and_are_always_the_same():
    dev, test = shape_cases("dev", (2, 3)), shape_cases("test", (2, 3))
    assert len(dev) == len(test) == 200
    assert not {case.prompt for case in dev} & {case.prompt for case in test}
    assert dev == shape_cases("dev", (2, 3))
    for half in (dev, test):
        assert [len(case.wanted) for case in half] == [2, 3] * 100
    assert {len(case.wanted) for case in shape_cases("test", (3,))} == {3}
    dev, test = relation_cases("dev"), relation_cases("test")
    assert len(dev) == len(test) == 200 and not {case.prompt for case in dev} & {case.prompt for case in test}
    assert all(case.relation in case.prompt and len(case.wanted) == 2 for case in dev + test)


def test_prompts_of_a_file_are_understood_or_refused(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("# mine\n\na red ball and a blue ring\na white cup above a black bar\n")
    first, second = read_cases(file, "shapes")
    assert first == Case("a red ball and a blue ring", (("ball", "red"), ("ring", "blue")))
    assert (
        second.wanted == (("cup", "white"), ("bar", "black")) and second.relation == "above" and first.relation is None
    )
    file.write_text("a cat and a dog\n")
    with pytest.raises(ValueError, match="a cat and a dog.*red.*ball"):
        read_cases(file, "shapes")
    assert read_cases(file, None) == [Case("a cat and a dog")]
    file.write_text("\n")
    with pytest.raises(ValueError, match="no prompt"):
        read_cases(file, None)


def test_scenes_are_asked_for_in_the_three_kinds_and_the_halves_share_no_pair():
    dev, test = excite_cases("dev"), excite_cases("test")
    assert dev == excite_cases("dev")
    for half in (dev, test):
        assert len({case.prompt for case in half}) == 200
        kinds = [case.kind for case in half]
        assert min(kinds.count(kind) for kind in KINDS) >= 66 and set(kinds) == set(KINDS)
        for case in half:
            wanted = [("animal" if noun in scenes.ANIMALS else "object") for noun, _ in case.wanted]
            assert " and ".join(wanted) == case.kind and case.prompt == scenes.caption_of(list(case.wanted))
            assert all((colour == scenes.OWN) == (noun in scenes.ANIMALS) for noun, colour in case.wanted)
            assert len({noun for noun, _ in case.wanted}) == 2
    pairs = [{frozenset(noun for noun, _ in case.wanted) for case in half} for half in (dev, test)]
    assert not pairs[0] & pairs[1]
    assert len(scene_cases("test", (2,))) == 200, "more than there are pairs of animals in a third of the prompts"


def test_prompts_of_scenes_are_read_with_and_without_colours(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a cat and a red backpack\n")
    assert read_cases(file, "scenes")[0].wanted == (("cat", scenes.OWN), ("backpack", "red"))
    file.write_text("a red ball\n")
    with pytest.raises(ValueError, match="a red ball.*demo model's scenes.*backpack"):
        read_cases(file, "scenes")


def test_the_kinds_have_a_table_with_the_papers_figures_beside_ours():
    half = compare([row(success=1.0, presence=1.0), row(success=0.0, presence=1.0)], [row(), row()], None)
    table = by_kind({"animal and animal": {"plain": half, "focus": half}, "object and object": {"plain": half}})
    assert half["detected"] == 1.0 and by_kind({}) == []
    assert table[1].split("  ")[0] == "success (all nouns there)" and "read in the papers" in table[1]
    assert table[2].startswith("plain") and "50.0% (100.0%)" in table[2] and table[2].endswith("46.7%")
    assert table[3].startswith("focus") and not table[3].endswith("46.7%")


def test_seeds():
    assert read_seeds("3") == [3]
    assert read_seeds("0-3") == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no seed"):
        read_seeds("4-2")


def row(name="plain", seed=0, success=0.0, **more):
    figures = {
        "presence": 0.5,
        "binding": 0.5,
        "relation": more.pop("relation", float("nan")),
        "success": success,
        "extra": 0.0,
        "residual": 0.1,
    }
    cost = {"distance": 0.1, "saturation": 0.0, "moved": 0.2, "updates": 10, "seconds": 3.0, "plain_seconds": 2.0}
    return {"name": name, "settings": "abc", "prompt": "a, b", "seed": seed, **figures, **cost, **more}


FIGURES = ("presence", "binding", "relation", "success", "extra", "residual")


def test_the_table_goes_on_where_it_was_stopped(tmp_path):
    path = tmp_path / "out" / "fidelity.csv"
    table = Table(path, FIGURES)
    table.add([row(seed=0), row(seed=1, success=1.0)])
    with path.open("a") as file:
        file.write('plain,abc,"a, b",2,0.5,')  # stopped in the middle of a line
    again = Table(path, FIGURES)
    assert [again.has("plain", "abc", "a, b", seed) for seed in (0, 1, 2)] == [True, True, False]
    assert not again.has("plain", "other settings", "a, b", 0)
    assert [r["success"] for r in again.select("plain", "abc", [("a, b", 1), ("a, b", 0), ("a, b", 2)])] == [1.0, 0.0]
    again.add([row(seed=2)])
    assert Table(path, FIGURES).has("plain", "abc", "a, b", 2)
    with pytest.raises(ValueError, match="--out"):
        Table(path, ("full_prompt",))


def test_a_method_is_compared_on_the_same_pictures():
    plain = [row(seed=s, success=float(s < 2)) for s in range(10)]
    placebo = [row(seed=s, success=float(s < 3)) for s in range(10)]
    method = [row(seed=s, success=float(s < 9)) for s in range(10)]
    answer = compare(method, plain, placebo)
    assert (answer["success"], answer["time_ratio"], answer["pictures"]) == (0.9, 1.5, 10)
    assert (answer["gained_p_value"], answer["lost_p_value"]) == (7, 0)
    assert answer["p_value"] == pytest.approx(2 / 2**7) and answer["p_placebo"] == pytest.approx(2 / 2**6)
    assert answer["interval"] == wilson(9, 10)
    assert (
        answer["nothing_else"] == 0.9 and compare([row(success=1.0, extra=1.0)], [row()], None)["nothing_else"] == 0.0
    )
    assert answer["p_prompts"] == 1.0  # one prompt got better
    assert compare(method[:1], plain[:1], None)["p_prompts"] is None
    alone = compare(plain, plain, None)
    assert alone["p_value"] is None and alone["p_placebo"] is None
    table = lines({"plain": alone, "mine": answer})
    answer["against"] = {"yours": compare(method, placebo, None)}
    assert lines({"mine": answer})[-1] == "mine against yours: +6/-0, p 0.031"
    assert "90.0%" in table[2] and "+7/-0" in table[2] and "1.50 x" in table[2]


def test_clip_scores_are_compared_by_the_object_that_fares_worst():
    def clip(value):
        return {
            "prompt": "a, b",
            "full_prompt": 0.3,
            "minimum_object": value,
            "distance": 0,
            "saturation": 0,
            "moved": 0,
            "seconds": 1,
            "plain_seconds": 1,
        }

    answer = compare([clip(0.3)] * 6, [clip(0.2)] * 6, None)
    assert answer["p_value"] == pytest.approx(2 / 2**6) and answer["success"] is None
    assert answer["minimum_object"] == pytest.approx(0.3)
    assert "0.300" in lines({"mine": answer})[1]
