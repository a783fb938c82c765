"""The choice that `auto` makes, and that every reason is told."""

from dataclasses import replace

import pytest
from prompt_fidelity.core.control.record import Record
from prompt_fidelity.core.methods import METHODS, LatentLoss
from prompt_fidelity.core.methods.auto import RULES, Auto
from prompt_fidelity.core.methods.base import Situation
from prompt_fidelity.core.methods.combined import CombinedMethods
from prompt_fidelity.core.methods.t_sam import TSAM
from prompt_fidelity.core.prompt.targets import Relation
from prompt_fidelity.core.show.report import report
from toy import OBJECTS, make_targets

BARE = tuple(replace(target, attributes=()) for target in OBJECTS)


class StandIn(TSAM):
    """For a method that is not in the pack yet."""


def chosen(targets, situation=None, methods=METHODS):
    return Auto(methods).resolve(targets, situation or Situation())


@pytest.mark.parametrize(
    ("objects", "because"),
    [
        (OBJECTS, "several objects with attributes"),
        (BARE, "no attributes"),
        (OBJECTS[:1], "one object, whose attributes"),
        (BARE[:1], "one object."),
        ((), "no object was found"),
    ],
)
def test_what_the_prompt_holds_decides(objects, because):
    method, reason = chosen(make_targets(objects))
    assert method.name in METHODS and method.preset == next(iter(method.PRESETS))
    assert because in reason and reason.startswith(method.title)
    assert method.applies(make_targets(objects))


def test_a_layout_decides_where_there_is_a_method_for_it():
    drawn = Situation(layout=True)
    related = replace(make_targets(), relations=(Relation(0, "left of", 1),))
    assert [part.method.name for part in chosen(related, drawn)[0].parts] == [
        "initial_editing",
        "space_time",
        "attention_regulation",
    ]
    alone = {"space_time": StandIn}
    assert type(chosen(related, drawn, alone)[0]) is StandIn
    without = {name: method for name, method in METHODS.items() if name != "space_time"}
    assert "a layout says" not in chosen(related, drawn, without)[1]


@pytest.mark.parametrize(
    ("situation", "names", "because"),
    [
        (Situation(transformer=True), ["attention_regulation"], "the model is a transformer"),
        (Situation(transformer=True), ["attention_regulation"], "2503.17675"),
        (Situation(transformer=True, joint=True), ["focus", "t_sam"], "share their attention"),
        (Situation(transformer=True, joint=True, tight=True), ["attention_regulation"], "the model is a transformer"),
        (Situation(tight=True), ["attention_regulation"], "memory holds little more than the model"),
        (
            Situation(layout=True, transformer=True),
            ["initial_editing", "space_time", "attention_regulation"],
            "a layout says",
        ),
        (Situation(layout=True, transformer=True, joint=True), ["layout_guidance"], "a layout says"),
        (
            Situation(layout=True, transformer=True, joint=True, tight=True),
            ["initial_editing", "space_time", "attention_regulation"],
            "a layout says",
        ),
        (Situation(), ["syngen"], "several objects with attributes"),
    ],
)
def test_what_the_network_is_decides_too(situation, names, because):
    method, reason = chosen(make_targets(), situation)
    assert [part.method.name for part in method.parts] == names and because in reason


def test_without_objects_the_words_are_strengthened_where_they_share_their_attention():
    bare = make_targets(())
    assert chosen(bare, Situation(transformer=True, joint=True))[0].name == "taca"
    assert chosen(bare, Situation(transformer=True))[0].name == chosen(bare, Situation(tight=True))[0].name == "t_sam"


def test_the_method_of_a_layout_needs_no_gradients():
    method, reason = chosen(make_targets(), Situation(layout=True))
    assert not any(isinstance(part.method, LatentLoss) for part in method.parts)
    assert (
        reason.startswith("Initial Image Editing + Space-Time Attention + Attention Regulation") and "layout" in reason
    )


@pytest.mark.parametrize("layout", [False, True])
@pytest.mark.parametrize(("family", "preset"), [("", "one-pass"), ("scenes", "scenes")])
def test_a_joint_transformer_is_drawn_in_one_pass_whether_or_not_it_has_presets_of_its_own(layout, family, preset):
    method, _ = chosen(make_targets(), Situation(layout=layout, family=family, transformer=True, joint=True))
    assert method.parts[-1].method.preset == preset
    losses = [part.method for part in method.parts if isinstance(part.method, LatentLoss)]
    assert losses and all(loss.settings.acts_on == "prediction" for loss in losses)


@pytest.mark.parametrize("objects", [OBJECTS, BARE, ()])
def test_the_demo_model_gets_its_own_preset(objects):
    assert chosen(make_targets(objects), Situation(family="demo"))[0].preset == "demo"


def test_the_table_ends_with_a_rule_for_everything():
    named = {tuple(part.split(":")) for rule in RULES for choice in rule.choices for part in choice.split("+")}
    assert {name for name, *_ in named} <= {*METHODS}
    assert all(preset in METHODS[name].PRESETS for name, *presets in named for preset in presets)
    assert RULES[-1].fits(None)


def test_auto_inside_a_combination_is_resolved():
    method, reason = CombinedMethods([(Auto(METHODS), 0.5), (TSAM(), 1.0)]).resolve(make_targets(), Situation())
    assert len(method.parts) == 2 and method.parts[0].weight == 0.5
    assert "several objects with attributes" in reason


def test_the_report_says_what_was_chosen_and_why():
    targets, record = make_targets(), Record()
    method, reason = chosen(targets)
    record.begin(method, targets, reason=reason)
    assert (
        f"Chosen by auto: {method.title}, because the prompt has several objects with attributes and no layout"
        in report(record)
    )
    record.begin(method, targets)
    assert "Chosen by auto" not in report(record)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_may_wait_for_the_preset_that_suits_the_model(name):
    waiting = METHODS[name].waiting()
    assert waiting.preset == "auto"
    demo, reason = waiting.resolve(make_targets(), Situation(family="demo"))
    other, _ = waiting.resolve(make_targets(), Situation(family="a family without a preset"))
    first = next(iter(METHODS[name].PRESETS))
    assert demo.preset == ("demo" if "demo" in METHODS[name].PRESETS else first)
    assert (other.preset, reason) == (first, "")
    assert not demo.waits and not other.waits
    assert METHODS[name]().resolve(make_targets(), Situation(family="demo"))[0].preset == other.preset


def test_methods_wait_in_a_combination_too():
    both = CombinedMethods([(METHODS["t_sam"].waiting(), 0.5), (METHODS["syngen"].waiting(), 1.0)])
    assert both.preset == "auto + auto"
    assert both.resolve(make_targets(), Situation(family="demo"))[0].preset == "demo + demo"
