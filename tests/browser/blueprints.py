"""The shipped subgraph blueprints, `subgraphs/`: which nodes are in them, and what of those shows on the one node."""

from __future__ import annotations

from dataclasses import replace

from blueprint import Blueprint

FIDELITY = Blueprint(
    "Prompt Fidelity",
    "Makes the model draw every object of the prompt, each with its own colours. The method is chosen for you. Open it "
    "to see its parts or to set more.",
    ("prompt fidelity", "two objects", "attend and excite", "missing object", "attribute binding"),
    {
        "targets": ("FidelityExtractTargets", (0, 0, 400, 330), {}, None),
        "strength": ("PrimitiveFloat", (0, 400, 400, 60), {"value": 1.0}, "strength"),
        "method": ("FidelitySelectMethod", (0, 530, 400, 110), {}, None),
        "apply": ("FidelityApply", (520, 200, 340, 260), {}, None),
    },
    (
        ("targets", "targets", "apply", "targets"),
        ("strength", "FLOAT", "apply", "strength"),
        ("method", "method", "apply", "method"),
    ),
    (
        ("model", "MODEL", [("apply", "model")]),
        ("clip", "CLIP", [("targets", "clip")]),
        ("prompt", "STRING", [("targets", "text")]),
        ("strength", "FLOAT", [("strength", "value")]),
    ),
    # In this order no wires cross: those to View Attention Maps pass above the sampler.
    (
        ("record", "FIDELITY_RECORD", "apply", "record"),
        ("targets", "FIDELITY_TARGETS", "targets", "targets"),
        ("MODEL", "MODEL", "apply", "MODEL"),
        ("CONDITIONING", "CONDITIONING", "targets", "CONDITIONING"),
    ),
    (400, 260),
)

# What several pictures have in common, so that nothing but the method differs: nodes, and the inputs for them.
_COMMON = {
    "negative": ("CLIPTextEncode", (0, 0, 340, 110), {}, "Negative prompt"),
    "seed": ("PrimitiveInt", (0, 190, 340, 90), {}, "seed"),
    "cfg": ("PrimitiveFloat", (0, 360, 340, 60), {"value": 7.0}, "cfg"),
    "sampler": ("KSamplerSelect", (0, 500, 340, 60), {}, None),
    "steps": ("BasicScheduler", (0, 640, 340, 110), {}, None),
}
_SETTINGS = (
    ("negative prompt", "STRING", [("negative", "text")]),
    ("seed", "INT", [("seed", "value")]),
    ("steps", "INT", [("steps", "steps")]),
    ("cfg", "FLOAT", [("cfg", "value")]),
    ("sampler", "COMBO", [("sampler", "sampler_name")]),
    ("scheduler", "COMBO", [("steps", "scheduler")]),
)

BOTH = Blueprint(
    "Draw with and without",
    "Draws the same picture twice, from one seed and with the same settings: with the model that was changed and with "
    "the plain one. For Compare Images.",
    ("prompt fidelity", "compare", "before after", "a/b"),
    {
        **_COMMON,
        "with": ("SamplerCustom", (460, 0, 300, 280), {}, "Draw with"),
        "without": ("SamplerCustom", (460, 420, 300, 280), {}, "Draw without"),
        "picture": ("VAEDecode", (860, 0, 220, 60), {}, "With"),
        "plain picture": ("VAEDecode", (860, 420, 220, 60), {}, "Without"),
    },
    tuple(
        wire
        for sampler, decode in (("with", "picture"), ("without", "plain picture"))
        for wire in (
            ("negative", "CONDITIONING", sampler, "negative"),
            ("seed", "INT", sampler, "noise_seed"),
            ("cfg", "FLOAT", sampler, "cfg"),
            ("sampler", "SAMPLER", sampler, "sampler"),
            ("steps", "SIGMAS", sampler, "sigmas"),
            (sampler, "output", decode, "samples"),
        )
    ),
    (
        ("model", "MODEL", [("with", "model")]),
        ("positive", "CONDITIONING", [("with", "positive"), ("without", "positive")]),
        ("plain model", "MODEL", [("without", "model"), ("steps", "model")]),
        ("clip", "CLIP", [("negative", "clip")]),
        ("vae", "VAE", [("picture", "vae"), ("plain picture", "vae")]),
        ("latent", "LATENT", [("with", "latent_image"), ("without", "latent_image")]),
        *_SETTINGS,
    ),
    (("with", "IMAGE", "picture", "IMAGE"), ("without", "IMAGE", "plain picture", "IMAGE")),
    (320, 420),
)

_METHODS = (1, 2, 3)
_UNSEEN = {"look_again": "off"}  # its record goes nowhere
_ALL = (0, *_METHODS)  # 0 is plain


def _row(i: int) -> int:
    return 340 * i


COMPARISON = Blueprint(
    "Compare methods",
    "Draws the same pictures plainly and with three methods, from one seed, and scores them by CLIP.",
    ("prompt fidelity", "compare", "x/y plot", "attend and excite"),
    {
        **_COMMON,
        **{f"apply {i}": ("FidelityApply", (440, _row(i), 300, 250), _UNSEEN, f"Apply method {i}") for i in _METHODS},
        **{f"draw {i}": ("SamplerCustom", (800, _row(i), 280, 250), {}, f"Draw {i}") for i in _ALL},
        **{f"picture {i}": ("VAEDecode", (1140, _row(i), 200, 60), {}, f"Picture {i}") for i in _ALL},
        **{f"score {i}": ("FidelityScore", (1400, _row(i), 240, 250), {}, f"Score {i}") for i in _ALL},
        **{
            f"text {i}": (
                "StringConcatenate",
                (1700, _row(i), 300, 200),
                {"string_a": "" if i else "plain", "delimiter": f"\n\nmethod {i}\n" if i else "\n"},
                f"Text {i}",
            )
            for i in _ALL
        },
    },
    (
        *(
            wire
            for i in _ALL
            for wire in (
                ("negative", "CONDITIONING", f"draw {i}", "negative"),
                ("seed", "INT", f"draw {i}", "noise_seed"),
                ("cfg", "FLOAT", f"draw {i}", "cfg"),
                ("sampler", "SAMPLER", f"draw {i}", "sampler"),
                ("steps", "SIGMAS", f"draw {i}", "sigmas"),
                (f"draw {i}", "output", f"picture {i}", "samples"),
                (f"picture {i}", "IMAGE", f"score {i}", "image"),
                (f"score {i}", "report", f"text {i}", "string_b"),
            )
        ),
        *((f"apply {i}", "MODEL", f"draw {i}", "model") for i in _METHODS),
        *((f"text {i - 1}", "STRING", f"text {i}", "string_a") for i in _METHODS),
    ),
    (
        ("positive", "CONDITIONING", [(f"draw {i}", "positive") for i in _ALL]),
        (
            "targets",
            "FIDELITY_TARGETS",
            [*((f"apply {i}", "targets") for i in _METHODS), *((f"score {i}", "targets") for i in _ALL)],
        ),
        ("model", "MODEL", [("draw 0", "model"), ("steps", "model"), *((f"apply {i}", "model") for i in _METHODS)]),
        ("clip", "CLIP", [("negative", "clip")]),
        ("vae", "VAE", [(f"picture {i}", "vae") for i in _ALL]),
        *((f"method {i}", "FIDELITY_METHOD", [(f"apply {i}", "method")]) for i in _METHODS),
        ("latent", "LATENT", [(f"draw {i}", "latent_image") for i in _ALL]),
        ("score clip", "CLIP", [(f"score {i}", "clip") for i in _ALL]),
        ("score vision", "CLIP_VISION", [(f"score {i}", "clip_vision") for i in _ALL]),
        *_SETTINGS,
    ),
    (
        ("scores", "STRING", "text 3", "STRING"),  # first, so that its wire goes above the pictures'
        *((f"method {i}" if i else "plain", "IMAGE", f"picture {i}", "IMAGE") for i in _ALL),
    ),
    (320, 480),
)

# The parts of Prompt Fidelity with the boxes between them, where the artist moves them.
READ = Blueprint(
    "Prompt with boxes",
    "Finds the objects of the prompt and proposes a box for each: for Create Bounding Boxes, to move them by hand.",
    ("prompt fidelity", "regional", "bounding boxes", "composition"),
    {
        "targets": ("FidelityExtractTargets", (0, 0, 400, 330), {}, None),
        "layout": ("FidelityPredictLayout", (520, 0, 340, 440), {"predictor": "solver"}, None),
    },
    (("targets", "targets", "layout", "targets"),),
    (
        ("clip", "CLIP", [("targets", "clip")]),
        ("prompt", "STRING", [("targets", "text")]),
        ("width", "INT", [("layout", "width")]),
        ("height", "INT", [("layout", "height")]),
    ),
    (
        ("elements", "ARRAY", "layout", "elements"),
        ("targets", "FIDELITY_TARGETS", "targets", "targets"),
        ("CONDITIONING", "CONDITIONING", "targets", "CONDITIONING"),
    ),
    (340, 280),
)

GUIDE = Blueprint(
    "Prompt Fidelity in boxes",
    "Makes the model draw every object of the prompt in its box. The method is chosen for you.",
    ("prompt fidelity", "regional", "bounding boxes", "composition"),
    {
        "boxes": ("FidelityLayoutFromBoxes", (0, 0, 360, 400), {}, None),
        "method": ("FidelitySelectMethod", (0, 480, 360, 110), {}, None),
        "strength": ("PrimitiveFloat", (0, 670, 360, 60), {"value": 1.0}, "strength"),
        "apply": ("FidelityApply", (480, 200, 340, 260), {}, None),
    },
    (
        ("boxes", "layout", "apply", "layout"),
        ("strength", "FLOAT", "apply", "strength"),
        ("method", "method", "apply", "method"),
    ),
    (
        ("targets", "FIDELITY_TARGETS", [("boxes", "targets"), ("apply", "targets")]),
        ("boxes", "ARRAY", [("boxes", "boxes")]),
        ("model", "MODEL", [("apply", "model")]),
        ("width", "INT", [("boxes", "width")]),
        ("height", "INT", [("boxes", "height")]),
        ("strength", "FLOAT", [("strength", "value")]),
    ),
    (("record", "FIDELITY_RECORD", "apply", "record"), ("MODEL", "MODEL", "apply", "MODEL")),
    (320, 260),
)

SEEDED = replace(
    FIDELITY,
    name="Prompt Fidelity, best seed",
    description="Prompt Fidelity that also picks the seed: it begins to draw several, and gives the one that promises "
    "to show every object.",
    aliases=("prompt fidelity", "best seed", "seed search"),
    nodes={
        **FIDELITY.nodes,
        "negative": ("CLIPTextEncode", (0, 720, 400, 110), {}, "Negative prompt"),
        "pick": ("FidelityPickSeeds", (520, 540, 380, 620), {"share": 0.3}, None),
    },
    wires=(
        *FIDELITY.wires,
        ("targets", "CONDITIONING", "pick", "positive"),
        ("targets", "targets", "pick", "targets"),
        ("negative", "CONDITIONING", "pick", "negative"),
    ),
    inputs=(
        ("model", "MODEL", [("apply", "model"), ("pick", "model")]),
        ("clip", "CLIP", [("targets", "clip"), ("negative", "clip")]),
        ("vae", "VAE", [("pick", "vae")]),
        ("latent", "LATENT", [("pick", "latent")]),
        ("prompt", "STRING", [("targets", "text")]),
        ("strength", "FLOAT", [("strength", "value")]),
        *(
            (name.replace("_", " "), kind, [("pick", name)])
            for name, kind in (
                ("first_seed", "INT"), ("count", "INT"), ("steps", "INT"), ("cfg", "FLOAT"),
                ("sampler_name", "COMBO"), ("scheduler", "COMBO"),
            )
        ),
    ),
    outputs=(
        ("contact sheet", "IMAGE", "pick", "contact sheet"),
        *FIDELITY.outputs,
        ("seed", "INT", "pick", "seed"),
    ),
    size=(340, 420),
)  # fmt: skip

TUNED = replace(
    FIDELITY,
    name="Prompt Fidelity, tuned by CLIP",
    description="Finds the weights of Space-Time Attention for one picture, with CLIP looking at it. Slow.",
    aliases=("prompt fidelity", "space-time", "optimise"),
    nodes={
        "targets": FIDELITY.nodes["targets"],
        "negative": ("CLIPTextEncode", (0, 420, 400, 110), {}, "Negative prompt"),
        "method": ("FidelitySelectMethod", (0, 620, 400, 110), {"method": "space_time"}, None),
        "layout": ("FidelityPredictLayout", (520, 0, 340, 540), {"predictor": "attention"}, None),
        "search": ("FidelityOptimiseSpaceTime", (960, 200, 340, 620), {}, None),
        "apply": ("FidelityApply", (1400, 0, 340, 260), {}, None),
    },
    wires=(
        ("targets", "targets", "layout", "targets"),
        ("targets", "CONDITIONING", "layout", "conditioning"),
        ("targets", "CONDITIONING", "search", "positive"),
        ("negative", "CONDITIONING", "search", "negative"),
        ("targets", "targets", "search", "targets"),
        ("layout", "layout", "search", "layout"),
        ("method", "method", "search", "method"),
        ("search", "method", "apply", "method"),
        ("targets", "targets", "apply", "targets"),
        ("layout", "layout", "apply", "layout"),
    ),
    inputs=(
        ("model", "MODEL", [("apply", "model"), ("layout", "model"), ("search", "model")]),
        ("clip", "CLIP", [("targets", "clip"), ("negative", "clip")]),
        ("vae", "VAE", [("search", "vae")]),
        ("latent", "LATENT", [("search", "latent")]),
        ("score clip", "CLIP", [("search", "clip")]),
        ("score vision", "CLIP_VISION", [("search", "clip_vision")]),
        ("prompt", "STRING", [("targets", "text")]),
        ("seed", "INT", [("search", "seed"), ("layout", "seed")]),
        *(
            (name.replace("_", " "), kind, [("search", name)])
            for name, kind in (
                ("steps", "INT"), ("cfg", "FLOAT"), ("scheduler", "COMBO"),
            )
        ),
    ),
    outputs=(
        ("loss plot", "IMAGE", "search", "loss plot"),
        ("weights", "STRING", "search", "weights"),
        *FIDELITY.outputs,
    ),
    size=(340, 460),
)  # fmt: skip


def drawing(part: Blueprint, name: str, description: str, order: tuple[str, ...], size: tuple, added: tuple = ()):
    """`part` and `BOTH` as one node: each setting stands in one place, and no wire runs to both of them.

    order: the inputs that stand first. added: wires from the part to settings of `BOTH`, which are no inputs then.
    """
    right = max(x + width for _, (x, _, width, _), *_ in part.nodes.values()) + 120
    moved = {key: (kind, (x + right, *rest), *more) for key, (kind, (x, *rest), *more) in BOTH.nodes.items()}
    made = {"MODEL": "model", "CONDITIONING": "positive"}  # by the part, for `BOTH`
    outputs = {kind: (key, end) for output, kind, key, end in part.outputs if output in made}
    ends = {input: ends for input, _, ends in BOTH.inputs}
    wires = [(*start, *end) for kind, start in outputs.items() for end in ends[made[kind]]]
    taken = {*(made[kind] for kind in outputs), *(key for _, _, key, _ in added)}
    inputs: dict[str, tuple[str, list]] = {}
    own = [("model" if input == "plain model" else input, *rest) for input, *rest in BOTH.inputs if input not in taken]
    for input, kind, to in (*part.inputs, *own):
        inputs.setdefault(input.removesuffix(" name"), (kind, []))[1].extend(to)
    first = [*order, *(input for input in inputs if input not in order)]
    return Blueprint(
        name,
        description,
        (*part.aliases, "before after"),
        {**moved, **part.nodes},
        (*part.wires, *BOTH.wires, *wires, *added),
        tuple((input, *inputs[input]) for input in first),
        (*(output for output in part.outputs if output[0] not in {*made, "seed"}), *BOTH.outputs),
        size,
    )


PLACED = drawing(
    GUIDE,
    "Draw in boxes, with and without",
    "Draws the same picture twice: with every object of the prompt in its box, and plainly. For Compare Images.",
    ("boxes", "targets", "positive", "model", "clip", "vae", "latent"),
    (340, 520),
)
BEST_SEED = drawing(
    SEEDED,
    "Draw the best seed, with and without",
    "Begins to draw several seeds and draws the one that promises to show every object: with Prompt Fidelity, and "
    "plainly. For Compare Images.",
    ("model", "clip", "vae", "latent", "prompt", "negative prompt"),
    (360, 560),
    added=(("pick", "seed", "seed", "value"),),
)
TUNED_PICTURE = drawing(
    TUNED,
    "Draw tuned by CLIP, with and without",
    "Finds the weights of Space-Time Attention for one picture, with CLIP looking at it, and draws it with them and "
    "plainly. Slow. For Compare Images.",
    ("model", "clip", "vae", "latent", "score clip", "score vision", "prompt", "negative prompt"),
    (360, 560),
)

BLUEPRINTS = (FIDELITY, BOTH, COMPARISON, READ, GUIDE, SEEDED, TUNED, PLACED, BEST_SEED, TUNED_PICTURE)
