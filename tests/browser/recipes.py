"""What the shipped workflows are: their graphs in API format, where the nodes stand, and what their notes say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from prompt_fidelity.core.layout.settings import AttentionSettings
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import DEMO_PRESET
from prompt_fidelity.core.search.learned_weights import EPOCHS, RATE

ROOT = Path(__file__).resolve().parents[2]
CARD = json.loads((ROOT / "assets" / "tinyshapes.json").read_text())["sampling"]
SIZE = {"width": CARD["width"], "height": CARD["height"]}
SAMPLING = {
    "steps": CARD["steps"],
    "cfg": CARD["cfg"],
    "sampler_name": CARD["sampler"],
    "scheduler": CARD["scheduler"],
}

PROMPT = "a red ball and a blue ring"
WORDS = (
    "The demo model knows ball, ring, bar, pole, cross and cup in red, green, blue, yellow, purple, black and white."
)
HELP = "Every node has a help page: select it and press **i** in the bar above it."

# Nodes that most workflows have.
MODEL, TARGETS, NEGATIVE, EMPTY, METHOD, APPLY = "1", "2", "3", "4", "5", "6"
WITH, DECODED, SAVED = "7", "8", "9"
WITHOUT, DECODED_PLAIN, PLAIN = "10", "11", "12"
MAPS, LOSS = "13", "14"
LAYOUT = "15"  # only for a method that works in regions
CANVAS, BOXES = "16", "17"  # only for a layout by hand
CLIP, SEARCH, SCORE, SCORE_PLAIN, SEARCH_PLOT, WEIGHTS = "18", "19", "20", "21", "22", "23"  # only with CLIP

# Node id: x, y, width, height, in columns from left to right as the data flows.
PLACES = {
    MODEL: (20, 70, 320, 80),
    TARGETS: (380, 70, 420, 340),
    NEGATIVE: (380, 460, 420, 110),
    EMPTY: (20, 480, 320, 110),
    METHOD: (860, 70, 320, 110),
    APPLY: (860, 320, 320, 230),
    WITH: (1240, 70, 320, 262),
    DECODED: (1600, 70, 200, 46),
    SAVED: (1840, 70, 340, 360),
    WITHOUT: (1240, 570, 320, 262),
    DECODED_PLAIN: (1600, 570, 200, 46),
    PLAIN: (1840, 570, 340, 360),
    MAPS: (2240, 70, 560, 700),
    LOSS: (2240, 830, 560, 350),
    LAYOUT: (380, 680, 420, 620),
}
BLUE, GOLD, GREY, GREEN = "#3f789e", "#b58b2a", "#777777", "#88aa88"
GROUPS = (  # title, (x, y, width, height), colour
    ("Prompt", (0, 0, 820, 600), BLUE),
    ("Method", (840, 0, 360, 600), GOLD),
    ("Draw with {title}", (1220, 0, 980, 450), BLUE),
    ("Draw plainly, for comparison", (1220, 500, 980, 450), GREY),
    ("What happened", (2220, 0, 600, 1200), GREEN),
)
LAYOUT_GROUP = ("Where the objects go", (360, 610, 460, 720), GOLD)
TITLES = {
    WITH: "KSampler, with {title}",
    SAVED: "with {title}",
    WITHOUT: "KSampler, plain",
    PLAIN: "plain",
    LOSS: "Loss plot",
    NEGATIVE: "Negative prompt",
}


@dataclass(frozen=True)
class Recipe:
    """One workflow file. `graph` gives the nodes for a seed; `title` stands for {title} in titles and groups."""

    name: str
    title: str
    note: str
    graph: Callable[[int], dict]
    places: dict[str, tuple] = field(default_factory=lambda: PLACES)
    groups: tuple = GROUPS
    titles: dict[str, str] = field(default_factory=lambda: TITLES)


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def demo_preset(method: str) -> str:
    presets = METHODS[method].PRESETS
    return DEMO_PRESET if DEMO_PRESET in presets else next(iter(presets))


def in_regions(method: str) -> bool:
    """Whether the method takes a layout; "auto" makes use of one."""
    return method == "auto" or METHODS[method].takes_layout


def sampler(model: list, seed: int, **changes) -> dict:
    wires = {"positive": [TARGETS, 0], "negative": [NEGATIVE, 0], "latent_image": [EMPTY, 0]}
    return node("KSampler", model=model, **wires, seed=seed, denoise=1.0, **{**SAMPLING, **changes})


def beginning(batch: int = 1) -> dict:
    """Model, prompts and empty latent."""
    return {
        MODEL: node("FidelityLoadDemoModel"),
        TARGETS: node("FidelityExtractTargets", clip=[MODEL, 1], text=PROMPT, words=""),
        NEGATIVE: node("CLIPTextEncode", clip=[MODEL, 1], text=""),
        EMPTY: node("EmptyLatentImage", **SIZE, batch_size=batch),
    }


def with_and_without(name: str, method: str, seed: int, **changes) -> dict:
    """A picture drawn with the method and one without it; `changes` are those of the samplers."""
    chosen = {"method": method} | ({"method.preset": demo_preset(method)} if method in METHODS else {})
    nodes = {
        **beginning(),
        METHOD: node("FidelitySelectMethod", **chosen),
        APPLY: node("FidelityApply", model=[MODEL, 0], method=[METHOD, 0], targets=[TARGETS, 1], strength=1.0),
        WITH: sampler([APPLY, 0], seed, **changes),
        DECODED: node("VAEDecode", samples=[WITH, 0], vae=[MODEL, 2]),
        SAVED: node("SaveImage", images=[DECODED, 0], filename_prefix=f"fidelity/{name}"),
        WITHOUT: sampler([MODEL, 0], seed, **changes),
        DECODED_PLAIN: node("VAEDecode", samples=[WITHOUT, 0], vae=[MODEL, 2]),
        PLAIN: node("SaveImage", images=[DECODED_PLAIN, 0], filename_prefix=f"fidelity/{name}_plain"),
        MAPS: node("FidelityViewMaps", record=[APPLY, 1], targets=[TARGETS, 1], image=[DECODED, 0]),
        LOSS: node("PreviewImage", images=[MAPS, 2]),
    }
    if in_regions(method):
        settings = {each.name: each.default for each in fields(AttentionSettings)}
        predictor = {"predictor": "attention", **{f"predictor.{key}": value for key, value in settings.items()}}
        looks = {"model": [MODEL, 0], "conditioning": [TARGETS, 0]}
        nodes[LAYOUT] = node("FidelityPredictLayout", targets=[TARGETS, 1], **SIZE, **predictor, seed=seed, **looks)
        nodes[APPLY]["inputs"]["layout"] = [LAYOUT, 0]
    return nodes


# --- one workflow for every method

IDEA = {
    "t_sam": "Words that belong together in the text encoder are made to look at the same place of the picture, "
    "other words at other places.",
    "attend_and_excite": "Every object of the prompt is made to have a place in the picture that looks at it strongly.",
    "attention_regulation": "Inside the attention, every object of the prompt is given its share of the picture. "
    "The model is not differentiated, so this is the method for small graphics cards.",
    "syngen": "Every colour is made to look where its object looks, and both where no other word does.",
    "divide_and_bind": "The objects divide the picture between them, each with regions of its own, and every colour "
    "is bound to its object.",
    "space_time": "*Predict Layout* looks where the model begins to draw each object, and there the object's own "
    'prompt is mixed in. Or choose the predictor *solver*, which goes by words such as "to the left of".',
    "layout_guidance": "*Predict Layout* says where each object goes, and its attention is pulled into its box, against "
    "what the seed has begun if need be. With Space-Time Attention beside it (*Combine Methods*) a box is obeyed best.",
    "box_diff": "*Predict Layout* says where each object goes, and its attention is made strong in its box, weak outside "
    "and as wide and high as the box.",
    "focus": "The words of an object are made to look at the same place, and the objects at different places, all in the "
    "step's own pass of the model.",
    "taca": "While the picture is laid out, the words get more of the attention that they share with the picture. It is "
    "for Flux, Stable Diffusion 3 and other transformers; a U-Net is only made surer of its words.",
}
NOTE = """## {title}

{idea}

**Press Run.** Both pictures are drawn from the same prompt and seed: above with the method, below without.

1. Write a prompt in *Extract Targets*. {words}
2. Choose a preset in *Select Method*.
3. Change the seed in **both** samplers. The method is for pictures that lack something; others may stay much the same.
4. *View Attention Maps* shows where the model looked for each object, and what the method did.

**For a real model,** put *Load Checkpoint* in the place of *Load Demo Model*, choose the preset *{preset}* in *Select Method*, and the picture size and the sampler settings that your checkpoint likes.

{help}"""


def of_method(name: str) -> Recipe:
    method = METHODS[name]
    preset = next(iter(method.PRESETS))
    return Recipe(
        name,
        method.title,
        NOTE.format(title=method.title, idea=IDEA[name], preset=preset, words=WORDS, help=HELP),
        lambda seed: with_and_without(name, name, seed),
        groups=(*GROUPS, *([LAYOUT_GROUP] if in_regions(name) else [])),
    )


# --- the choice left to the pack

AUTO_NOTE = """## Let the pack choose

*Select Method* stands on **auto**: it goes by the prompt, by whether a layout is connected, and by the model. Here *Predict Layout* looks where the model begins to draw each object, so auto takes Space-Time Attention and Attention Regulation together. That did best in the benchmark of the README, on this tiny model. *View Attention Maps* says what was chosen, and why.

**Press Run.** Both pictures are drawn from the same prompt and seed: above with the method, below without.

1. Write a prompt in *Extract Targets*. {words}
2. Change the seed in *Predict Layout* **and** in both samplers: the layout must be that of the seed.

**For a real model,** put *Load Checkpoint* in the place of *Load Demo Model*, and choose the picture size and the sampler settings that your checkpoint likes.

{help}"""


def auto() -> Recipe:
    note = AUTO_NOTE.format(words=WORDS, help=HELP)
    groups = (*GROUPS, LAYOUT_GROUP)
    return Recipe("auto", "auto", note, lambda seed: with_and_without("auto", "auto", seed), groups=groups)


# --- a layout that the artist moves by hand

HAND_IDEA = """*Predict Layout* proposes where the objects go. *Create Bounding Boxes* shows its boxes: **move and size them with the mouse**, then press Run again. The canvas needs *Nodes 2.0*: switch it on in the settings of ComfyUI if the node only says so. *Layout from Boxes* gives each box to the object that it is named after, and Space-Time Attention draws the object there.

What you did on the canvas stays until Predict Layout proposes something else. To start from its boxes again, change its seed."""


def layout_by_hand() -> Recipe:
    name, plain = "layout_by_hand", of_method("space_time")

    def graph(seed: int) -> dict:
        """The predicted boxes go to the host's canvas, and from there to Apply."""
        nodes = with_and_without(name, "space_time", seed)
        nodes[CANVAS] = node("CreateBoundingBoxes", bboxes=[LAYOUT, 3], **SIZE)
        nodes[BOXES] = node("FidelityLayoutFromBoxes", targets=[TARGETS, 1], boxes=[CANVAS, 2], json="", **SIZE)
        nodes[APPLY]["inputs"]["layout"] = [BOXES, 0]
        return nodes

    return replace(
        plain,
        name=name,
        note=NOTE.format(title="Layout by Hand", idea=HAND_IDEA, preset="paper", words=WORDS, help=HELP),
        graph=graph,
        places={**PLACES, CANVAS: (860, 1040, 420, 560), BOXES: (1340, 1040, 420, 560)},
        groups=(*plain.groups, ("Move the boxes by hand", (840, 970, 940, 660), GOLD)),
    )


# --- weights of Space-Time Attention that are found for the picture

OPTIMISED_STEPS = 10  # the search draws the picture many times: half of the demo model's steps
OPTIMISED_NOTE = """## Space-Time Attention, optimised

*Optimise Space-Time* draws the picture several times from the same noise. CLIP looks at it, the whole and every object's place, and each object's weight at each step is changed so that CLIP sees more of the prompt.

**Press Run** and wait about half a minute. Both pictures are drawn from the same prompt and seed: above with the weights that were found, below without any method.

1. Write a prompt in *Extract Targets*. {words}
2. The seed must be the same in *Optimise Space-Time* and in **both** samplers, and so must steps, cfg and scheduler.
3. *Score Fidelity* says how well each picture fits the prompt: the whole of it, and the object that fits worst.
4. The text under *weights* can be pasted into *Space-Time Weights*, to use the weights again without a search.

**For a real model,** put *Load Checkpoint* in the place of *Load Demo Model*, *Load CLIP* and *Load CLIP Vision* (both with a whole CLIP model) in the place of *Load Demo CLIP*, and choose the preset *paper* in *Select Method*. It takes minutes on a graphics card.

{help}"""


def optimised() -> Recipe:
    name, plain = "space_time_optimised", of_method("space_time")

    def graph(seed: int) -> dict:
        """Space-Time Attention's graph, its weights optimised before they are applied, and both pictures scored."""
        nodes = with_and_without(name, "space_time", seed, steps=OPTIMISED_STEPS)
        drawn = {key: nodes[WITH]["inputs"][key] for key in ("seed", "steps", "cfg", "scheduler")}
        clip = {"clip": [CLIP, 0], "clip_vision": [CLIP, 1]}
        nodes[CLIP] = node("FidelityLoadDemoCLIP")
        nodes[SEARCH] = node(
            "FidelityOptimiseSpaceTime", model=[MODEL, 0], positive=[TARGETS, 0], negative=[NEGATIVE, 0],
            targets=[TARGETS, 1], layout=[LAYOUT, 0], vae=[MODEL, 2], **clip, latent=[EMPTY, 0], **drawn,
            epochs=EPOCHS, learning_rate=RATE, method=[METHOD, 0],
        )  # fmt: skip
        nodes[APPLY]["inputs"]["method"] = [SEARCH, 0]
        nodes[SEARCH_PLOT] = node("PreviewImage", images=[SEARCH, 1])
        nodes[WEIGHTS] = node("PreviewAny", source=[SEARCH, 2])
        for score, decoded in ((SCORE, DECODED), (SCORE_PLAIN, DECODED_PLAIN)):
            nodes[score] = node("FidelityScore", image=[decoded, 0], targets=[TARGETS, 1], **clip)
        return nodes

    return Recipe(
        name,
        f"{plain.title}, optimised",
        OPTIMISED_NOTE.format(words=WORDS, help=HELP),
        graph,
        places={
            **PLACES,
            CLIP: (20, 680, 320, 80),
            SEARCH: (860, 680, 340, 760),
            SEARCH_PLOT: (1240, 1070, 580, 370),
            WEIGHTS: (1860, 1070, 320, 370),
            SCORE: (1600, 180, 220, 250),
            SCORE_PLAIN: (1600, 680, 220, 250),
        },
        groups=(
            *plain.groups,
            ("CLIP, to score pictures", (0, 610, 350, 170), BLUE),
            ("Find the weights", (840, 630, 370, 860), GOLD),
            ("What was found", (1220, 1000, 980, 490), GREEN),
        ),
        titles={
            **TITLES,
            SEARCH_PLOT: "Loss over the epochs",
            WEIGHTS: "Weights",
            SCORE: "Score Fidelity, {title}",
            SCORE_PLAIN: "Score Fidelity, plain",
        },
    )


# --- several methods on the same prompt and seeds, with figures

COMPARED = ("t_sam", "attend_and_excite", "syngen", "attention_regulation")
COMPARED_BATCH = 4
ROW = 490  # pixels from one method's row to the next
COMPARE_NOTE = """## Which method helps with this prompt?

Every row draws the same {batch} pictures from the same seed: plainly, and with each method. *Score Fidelity* says how well they fit the prompt: CLIP's similarity with the whole prompt, and with the object that fits worst, as means over the row. **Higher is better; only rows of the same prompt can be compared.**

**Press Run.** Then change the seed in all samplers and run again: one seed proves nothing. For a table with intervals and tests over hundreds of prompts, run `benchmarks/fidelity.py`.

1. Write a prompt in *Extract Targets*. {words}
2. Choose other methods or settings in *Select Method*.

**For a real model,** put *Load Checkpoint* in the place of *Load Demo Model*, *Load CLIP* and *Load CLIP Vision* (both with a whole CLIP model) in the place of *Load Demo CLIP*, and choose each method's first preset.

{help}"""


def compare() -> Recipe:
    """A row of nodes for plain sampling and for each method; row r has the ids r·10 + 30 and on."""
    rows = (None, *COMPARED)
    ids = [{part: str(30 + 10 * row + i) for i, part in enumerate(_PARTS)} for row in range(len(rows))]

    def graph(seed: int) -> dict:
        nodes = {**beginning(COMPARED_BATCH), CLIP: node("FidelityLoadDemoCLIP")}
        for method, at in zip(rows, ids, strict=True):
            model = [MODEL, 0]
            if method:
                preset = {"method": method, "method.preset": demo_preset(method)}
                nodes[at["method"]] = node("FidelitySelectMethod", **preset)
                wires = {"method": [at["method"], 0], "targets": [TARGETS, 1]}
                nodes[at["apply"]] = node("FidelityApply", model=model, **wires, strength=1.0)
                model = [at["apply"], 0]
            nodes[at["sampler"]] = sampler(model, seed)
            nodes[at["decode"]] = node("VAEDecode", samples=[at["sampler"], 0], vae=[MODEL, 2])
            image, clip = [at["decode"], 0], {"clip": [CLIP, 0], "clip_vision": [CLIP, 1]}
            nodes[at["score"]] = node("FidelityScore", image=image, targets=[TARGETS, 1], **clip)
            name = method or "plain"
            nodes[at["save"]] = node("SaveImage", images=image, filename_prefix=f"fidelity/compare_{name}")
        return nodes

    columns = {  # x, width, height
        "method": (860, 320, 110),
        "apply": (860, 320, 210),
        "sampler": (1220, 320, 262),
        "decode": (1580, 200, 46),
        "score": (1820, 340, 340),
        "save": (2200, 340, 340),
    }
    below = {"apply": 160}  # in its row
    places = {
        at[part]: (columns[part][0], 70 + row * ROW + below.get(part, 0), *columns[part][1:])
        for row, at in enumerate(ids)
        for part in _PARTS
    }
    named = [METHODS[method].title if method else "plain" for method in rows]
    return Recipe(
        "compare_methods",
        "Comparison",
        COMPARE_NOTE.format(batch=COMPARED_BATCH, words=WORDS, help=HELP),
        graph,
        places={**PLACES, CLIP: (20, 680, 320, 80), **places},
        groups=(
            GROUPS[0],
            ("CLIP, to score pictures", (0, 610, 350, 170), BLUE),
            *((name, (840, row * ROW, 1720, ROW - 10), GOLD if row else GREY) for row, name in enumerate(named)),
        ),
        titles={
            NEGATIVE: "Negative prompt",
            **{at["score"]: f"Score Fidelity, {name}" for at, name in zip(ids, named, strict=True)},
            **{at["save"]: name for at, name in zip(ids, named, strict=True)},
        },
    )


_PARTS = ("method", "apply", "sampler", "decode", "score", "save")

RECIPES = (*(of_method(name) for name in METHODS), auto(), layout_by_hand(), optimised(), compare())
