"""What the shipped workflows are: their nodes and where they stand, their wires, and what their notes say.

A workflow's file name is all that ComfyUI's template browser shows and searches: its title, its words for the search
(they count only near the beginning: "prompt fidelity" has to start within 33 characters) and, by its number, its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from blueprint import Blueprint
from blueprints import BEST_SEED, BOTH, COMPARISON, FIDELITY, PLACED, READ, TUNED_PICTURE
from sources import DEMO, FLUX, SD15, SDXL, SHAPES, Source


@dataclass(frozen=True)
class Node:
    """`kind` is a node type or a blueprint; box: x, y, width, height; widgets: values by name, in their order."""

    kind: str | Blueprint
    box: tuple[int, int, int, int]
    widgets: dict = field(default_factory=dict)
    title: str | None = None
    download: dict | None = None


@dataclass(frozen=True)
class Recipe:
    """One workflow file. wires: (from, output name, to, input name)."""

    name: str
    note: str
    source: Source
    nodes: dict[str, Node]
    wires: tuple[tuple[str, str, str, str], ...]


# --- parts that the workflows share

NOTE_BOX = (-460, -400, 420, 640)
HELP = "Every node has a help page: select it and press **i** in the bar above it."
REAL = (
    "**Your own model:** the workflows 7 to 9 do the same with SD 1.5, SDXL and Flux. Or put *Load Checkpoint* in the "
    "place of *Load Demo Model* and set size, steps, cfg and sampler as your model likes them."
)


def beginning(source: Source) -> dict[str, Node]:
    """Model and empty latent: the one place for the size."""
    kind, widgets, title = source.loader
    width, height = source.size
    return {
        "load": Node(kind, (0, 0, 290, 110), widgets, title, source.download),
        "latent": Node(source.latent, (0, 320, 290, 120), {"width": width, "height": height}, "Size"),
    }


def shown(at: tuple[int, int], prefix: str) -> dict[str, Node]:
    """What shows both pictures."""
    x, y = at
    return {
        "view": Node("FidelityViewMaps", (x, y, 760, 480)),
        "save": Node("SaveImage", (x + 420, y + 580, 340, 400), {"filename_prefix": f"fidelity/{prefix}"}, "Picture"),
        "compare": Node("ImageCompare", (x, y + 650, 380, 400), {}, "With or without: move the mouse over it"),
    }


DRAWING = (
    ("load", "CLIP", "both", "clip"),
    ("load", "VAE", "both", "vae"),
    ("latent", "LATENT", "both", "latent"),
    ("both", "with", "view", "image"),
    ("both", "with", "save", "images"),
    ("both", "with", "compare", "image_a"),
    ("both", "without", "compare", "image_b"),
)
ALONE = (("load", "MODEL", "both", "model"), ("both", "record", "view", "record"))  # where one node does all


def one_node(source: Source, prefix: str) -> tuple[dict[str, Node], tuple]:
    """Prompt Fidelity as one node, and the two pictures."""
    _, height = FIDELITY.size
    nodes = {
        **beginning(source),
        "fidelity": Node(FIDELITY, (360, -150 - height, 340, height), {"prompt": source.prompt}),
        "both": Node(BOTH, (790, 160, 300, 400), {**source.sampling(), "seed": source.seed}),
        **shown((1170, -400), prefix),
    }
    wires = (
        *DRAWING,
        ("load", "MODEL", "both", "plain model"),
        ("load", "MODEL", "fidelity", "model"),
        ("load", "CLIP", "fidelity", "clip"),
        ("fidelity", "MODEL", "both", "model"),
        *((("fidelity", "CONDITIONING", "both", "positive"),) if source.guidance is None else ()),
        ("fidelity", "record", "view", "record"),
        ("fidelity", "targets", "view", "targets"),
    )
    return nodes, wires


# --- the workflows

START = f"""# Start here

## Press **Run**

Two pictures come from one prompt and one seed: **with** Prompt Fidelity and **without**.

- *Compare Images*: move the mouse over it.
- *View Attention Maps*: a ✓ or ✗ for every object, and where the model looked for it.

## Then

1. Change the **prompt**. {DEMO.hint}
2. Change the **seed**.
3. Change the **strength**. 0 is the plain picture.

The button in the corner of *Prompt Fidelity* opens it: the method is chosen for you inside.

{REAL}

{HELP}"""


def start_here() -> Recipe:
    return Recipe("1 Start here, nothing left out - Prompt Fidelity", START, DEMO, *one_node(DEMO, "start"))


COLOURS_PROMPT, COLOURS_SEED = "a red backpack and a blue balloon", 2  # plainly, the two colours share one thing
COLOURS = f"""# Colours on the right object

## Press **Run**

*View Attention Maps* also shows where the model looked for each **colour**: it has to be where its object is.

1. Change the **prompt**. {DEMO.hint}
2. Change the **seed**, or the **strength**. 0 is the plain picture.
3. Open *Prompt Fidelity* with the button in its corner: *Extract Targets* finds the objects and their colours, *Select Method* stands on **auto**, *Apply Attention Control* attaches the method to the model. Choose another method there and see what it does.

{REAL}

{HELP}"""


def colours() -> Recipe:
    source = replace(DEMO, prompt=COLOURS_PROMPT, seed=COLOURS_SEED)
    nodes, wires = one_node(source, "colours")
    nodes["view"].widgets["attributes"] = True
    return Recipe("2 Two objects, right colours - Prompt Fidelity", COLOURS, source, nodes, wires)


PLACES = f"""# Put it where you say

## Press **Run**, then move the boxes

1. *Prompt with boxes* proposes a box for every object of the **prompt**. {DEMO.hint}
2. *Move the boxes* shows them: **move and size them with the mouse**, then press Run again. (It needs *Nodes 2.0*: switch it on in ComfyUI's settings if the node says so.)
3. *Draw in boxes* gives each box to the object that it is named after, and the model draws it there: **with**, and **without**.

What you did by hand stays until the prompt or the size changes.

Width and height are those of *Size*, in all of the three.

{REAL}

{HELP}"""


_NO_CAT = 5  # a seed of which the plain picture lacks it


def places() -> Recipe:
    width, height = DEMO.size
    size = {"width": width, "height": height}
    nodes = {
        **beginning(DEMO),
        "read": Node(READ, (360, -430, 300, 280), {"prompt": DEMO.prompt, **size}),
        "canvas": Node("CreateBoundingBoxes", (740, -1100, 420, 480), size, "Move the boxes"),  # 620 high in Nodes 2.0
        "both": Node(PLACED, (1400, -100, 340, 520), {**DEMO.sampling(), **size, "strength": 1.0, "seed": _NO_CAT}),
        **shown((2020, -600), "places"),
    }
    wires = (
        *DRAWING,
        *ALONE,
        ("load", "CLIP", "read", "clip"),
        ("read", "elements", "canvas", "bboxes"),
        ("canvas", "elements", "both", "boxes"),
        ("read", "targets", "both", "targets"),
        ("read", "CONDITIONING", "both", "positive"),
        ("read", "targets", "view", "targets"),
    )
    return Recipe("3 Put it where you say, regional Prompt Fidelity", PLACES, DEMO, nodes, wires)


COMPARED = ("auto", "attend_and_excite", "t_sam")
COMPARE = f"""# Which method helps here?

## Press **Run**

Every row shows the same four pictures, from one seed: plainly and with three methods. **Scores** says how well they fit the prompt by CLIP, the whole of it and the object that fits worst. Higher is better.

1. Change the **prompt** in *Extract Targets*. {SHAPES.hint}
2. Choose other methods in *Select Method*.
3. Change the **seed**: one seed proves nothing. (For hundreds of prompts there is `benchmarks/fidelity.py`.)

The button in the corner of *Compare methods* opens it.

**Your own model:** put *Load Checkpoint* in the place of *Load Demo Model*, *Load CLIP* and *Load CLIP Vision* (a whole CLIP model) in the place of *Load Demo CLIP*.

{HELP}"""


def compare() -> Recipe:
    nodes = {
        **beginning(SHAPES),
        "load": Node(SHAPES.loader[0], (0, -250, 290, 110), SHAPES.loader[1], SHAPES.loader[2]),
        "targets": Node("FidelityExtractTargets", (360, -700, 340, 330), {"text": SHAPES.prompt}),
        # Far enough apart for every method's `custom`, 604 high in Nodes 2.0.
        **{
            f"method {i}": Node("FidelitySelectMethod", (0, -60 + 660 * i, 290, 110), {"method": name}, f"Method {i + 1}")
            for i, name in enumerate(COMPARED)
        },
        # Below the wires of the methods, as the inputs are.
        "clip": Node("FidelityLoadDemoCLIP", (700, 1150, 290, 80)),
        "all": Node(COMPARISON, (1400, -250, 300, 500), {**SHAPES.sampling(), "seed": SHAPES.seed}),
        **{
            f"save {i}": Node(
                "SaveImage", (2010, -610 + 470 * i, 340, 370),
                {"filename_prefix": f"fidelity/compare_{i}"}, f"Method {i}" if i else "Plain",
            )
            for i in range(4)
        },
        "compare": Node("ImageCompare", (2430, -250, 420, 440), {}, "Plain or method 1: move the mouse over it"),
        "scores": Node("PreviewAny", (2010, -1090, 340, 380), {}, "Scores"),
    }  # fmt: skip
    nodes["latent"] = replace(nodes["latent"], box=(700, 960, 290, 120))
    nodes["latent"].widgets["batch_size"] = 4
    wires = (
        ("load", "CLIP", "targets", "clip"),
        ("targets", "targets", "all", "targets"),
        ("targets", "CONDITIONING", "all", "positive"),
        ("load", "MODEL", "all", "model"),
        ("load", "CLIP", "all", "clip"),
        ("load", "VAE", "all", "vae"),
        ("latent", "LATENT", "all", "latent"),
        ("clip", "CLIP", "all", "score clip"),
        ("clip", "CLIP_VISION", "all", "score vision"),
        *((f"method {i}", "method", "all", f"method {i + 1}") for i in range(3)),
        ("all", "plain", "compare", "image_a"),
        ("all", "method 1", "compare", "image_b"),
        *(("all", f"method {i}" if i else "plain", f"save {i}", "images") for i in range(4)),
        ("all", "scores", "scores", "source"),
    )
    return Recipe("4 Attend and Excite, which one - Prompt Fidelity", COMPARE, SHAPES, nodes, wires)


SEEDS = f"""# Pick a good seed

## Press **Run**

*Draw the best seed* draws only the beginning of eight seeds, looks where the model looked for every object, and draws the **best seed** to the end: **with** Prompt Fidelity and **without**. *The seeds* shows what each of them has begun to draw.

1. Change the **prompt**. {DEMO.hint}
2. Change **first seed** for eight others, and **count** for more of them.
3. In a graph of your own, put *Prompt Fidelity, best seed* before your sampler and connect its **seed**. It needs the sampler's steps, cfg, sampler and scheduler.

{REAL}

{HELP}"""


def seeds() -> Recipe:
    search = {"prompt": DEMO.prompt, "strength": 1.0, "first seed": 0, "count": 8}
    nodes = {
        **beginning(DEMO),
        "both": Node(BEST_SEED, (480, -60, 360, 560), {**DEMO.sampling(), **search}),
        "sheet": Node("PreviewImage", (1170, -860, 760, 360), {}, "The seeds, best first"),
        **shown((1170, -400), "seed"),
    }
    wires = (
        *DRAWING,
        *ALONE,
        ("both", "targets", "view", "targets"),
        ("both", "contact sheet", "sheet", "images"),
    )
    return Recipe("5 Pick a good seed - Prompt Fidelity", SEEDS, DEMO, nodes, wires)


OPTIMISED_STEPS = 10  # the search draws the picture many times: half of the demo model's steps
TUNED_NOTE = f"""# Tuned for one picture

## Press **Run** and wait about half a minute

*Draw tuned by CLIP* draws the picture several times from the same noise. CLIP looks at it, the whole and every object's place, and each object's weight at each step is changed so that CLIP sees more of the prompt.

1. Change the **prompt**. {SHAPES.hint}
2. Change the **seed**.
3. The text under *Weights* can be pasted into a *Space-Time Weights* node, to use them again without a search.

**Your own model:** *Load Checkpoint* for *Load Demo Model*, *Load CLIP* and *Load CLIP Vision* (a whole CLIP model) for *Load Demo CLIP*. It takes minutes on a graphics card.

{HELP}"""


def tuned() -> Recipe:
    drawing = {"prompt": SHAPES.prompt, "seed": SHAPES.seed, "steps": OPTIMISED_STEPS}
    nodes = {
        **beginning(SHAPES),
        "clip": Node("FidelityLoadDemoCLIP", (0, 520, 290, 80)),
        "both": Node(TUNED_PICTURE, (480, -60, 360, 560), {**SHAPES.sampling(), **drawing}),
        "plot": Node("PreviewImage", (1330, -1290, 760, 360), {}, "Loss over the epochs"),
        "weights": Node("PreviewAny", (1330, -860, 760, 360), {}, "Weights"),
        **shown((1330, -400), "tuned"),
    }
    wires = (
        *DRAWING,
        *ALONE,
        ("clip", "CLIP", "both", "score clip"),
        ("clip", "CLIP_VISION", "both", "score vision"),
        ("both", "targets", "view", "targets"),
        ("both", "loss plot", "plot", "images"),
        ("both", "weights", "weights", "source"),
    )
    return Recipe("6 Tuned for one picture, slow - Prompt Fidelity", TUNED_NOTE, SHAPES, nodes, wires)


OWN = (
    """# {family}: choose your checkpoint

1. In **Choose your checkpoint**, pick any {family} model of yours. (ComfyUI offers to download {file} if you have none.)
2. Write your **prompt** in *Prompt Fidelity*.
3. Press **Run**: two pictures from one prompt and one seed, **with** and **without**. Move the mouse over *Compare Images*.

*View Attention Maps* says ✓ or ✗ for every object. Nothing missing in the plain picture? Try another **seed**. Too little or too much? Change the **strength**.

LoRAs, ControlNet and the rest go where they always go: models before *Prompt Fidelity*, conditioning after it.{more}

To draw only one picture, put a KSampler of your own in the place of *Draw with and without*.

"""
    + HELP
)


def own(number: int, family: str, source: Source, more: str = "") -> Recipe:
    nodes, wires = one_node(source, family.lower().replace(" ", ""))
    if source.guidance is not None:
        nodes["guidance"] = Node("FluxGuidance", (390, -40, 300, 60), {"guidance": source.guidance})
        wires = (
            *wires,
            ("fidelity", "CONDITIONING", "guidance", "conditioning"),
            ("guidance", "CONDITIONING", "both", "positive"),
        )
    note = OWN.format(family=family, file=source.loader[1]["ckpt_name"], more=more)
    return Recipe(f"{number} {family}, your checkpoint - Prompt Fidelity", note, source, nodes, wires)


RECIPES = (
    start_here(),
    colours(),
    places(),
    compare(),
    seeds(),
    tuned(),
    own(7, "SD 1.5", SD15),
    own(8, "SDXL", SDXL),
    own(9, "Flux", FLUX, " Flux takes no negative prompt: leave *cfg* at 1."),
)
