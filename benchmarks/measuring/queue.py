"""A queue as artists fill it: random graphs over all methods, networks, samplers, sizes and batches; cancelled ones and
wrong ones among them. Prompts in the host's API format, the same for the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.methods.base import DEMO_PRESET
from prompt_fidelity.host.sampling.samplers import SAMPLERS

NETWORKS = ("demo", "sd1", "sd2", "sdxl")
CANCELLED, WRONG = 0.20, 0.08
_REFUSED = [name for name, facts in SAMPLERS.items() if facts.support == "refused"]
_TAKEN = [name for name in SAMPLERS if name not in _REFUSED]
_SCHEDULERS = ("normal", "karras", "simple", "exponential", "sgm_uniform")
_WORDS = ("ball", "ring", "bar", "cup", "cat", "clock", "box", "star")
_COLOURS = ("red", "blue", "green", "yellow", "white", "black")
_RELATIONS = ("and", "next to", "to the left of", "above", "on")
# What artists get wrong, and the host's own troubles: each stops its prompt with an error on a node.
MISTAKES = (
    "a word that is not in the prompt",
    "a window that ends before it starts",
    "a sampler that is refused",
    "another node's conditioning",
    "a resolution that the model lacks",
    "boxes that are no JSON",
    "no CLIP",
    "an image of another batch",
    "a value beyond its range",
    "a network that fails",
)


@dataclass(frozen=True)
class Queued:
    """One prompt. `cancel_after`: signals of progress after which the artist presses Cancel, if they do. `mistake`:
    what is wrong on purpose.
    """

    name: str
    graph: dict
    cancel_after: int | None = None
    mistake: str | None = None


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def references(plain: bool = False) -> list[Queued]:
    """Prompts whose pictures must be the same whenever they are drawn."""
    kinds = [("demo", "t_sam"), ("sd1", "attend_and_excite"), ("sd2", "attention_regulation"), ("sdxl", "space_time")]
    drawn = [_graph(random.Random(7), network, method, steps=3, side=128) for network, method in kinds]
    drawn.append(_graph(random.Random(7), "demo", "t_sam", steps=3, side=128, strength=0.0))
    return [
        Queued(f"reference {i}", without_ours(graph) if plain else _with_look(graph)) for i, graph in enumerate(drawn)
    ]


def queue(count: int, seed: int, plain: bool = False) -> Iterator[Queued]:
    """`count` prompts; with `plain` the same without any node of the pack that acts."""
    rng = random.Random(seed)
    shares = [("cancelled", CANCELLED), ("wrong", WRONG)]
    kinds = [kind for kind, share in shares for _ in range(round(share * count))]
    kinds += ["well"] * (count - len(kinds))
    rng.shuffle(kinds)
    # Every method and every sampler has its turn before one comes again.
    methods, samplers, mistakes = (_turns(rng, names) for names in ([*METHODS, "auto", "two"], _TAKEN, MISTAKES))
    for number, kind in enumerate(kinds):
        network, method, sampler = rng.choice(NETWORKS), next(methods), next(samplers)
        graph = _graph(rng, network, method, sampler=sampler, steps=rng.randint(2, 4))
        mistake = next(mistakes) if kind == "wrong" else None
        if mistake:
            _spoil(graph, mistake)
        name = f"{number} {network} {method} {sampler}" + (f" ({mistake})" if mistake else "")
        cancel = rng.randint(1, 24) if kind == "cancelled" else None
        yield Queued(name, without_ours(graph) if plain else _with_look(graph), cancel, mistake)


def _turns(rng: random.Random, names) -> Iterator[str]:
    while True:
        names = list(names)
        rng.shuffle(names)
        yield from names


def _sentence(rng: random.Random) -> str:
    """Two or three objects that the demo model knows as well."""
    things = [f"a {rng.choice(_COLOURS)} {word}" for word in rng.sample(_WORDS[:4], rng.choice((2, 2, 3)))]
    text = things[0]
    for thing in things[1:]:
        text += f" {rng.choice(_RELATIONS)} {thing}"
    return text


def _graph(
    rng: random.Random, network: str, method: str, *, sampler="euler", steps=4, side=None, strength=None
) -> dict:
    batch = 1 if side else rng.choice((1, 1, 2, 3))
    width, height = (side, side) if side else (rng.randrange(80, 137, 8), rng.randrange(80, 137, 8))
    loader = node("FidelityLoadDemoModel") if network == "demo" else node("SoakModel", family=network)
    strength = rng.choice((0.0, 0.05, 0.3, 1.0)) if strength is None else strength
    graph = {
        "model": loader,
        "targets": node("FidelityExtractTargets", clip=["model", 1], text=_sentence(rng), words=""),
        "negative": node("CLIPTextEncode", clip=["model", 1], text=rng.choice(("", "blurry, ugly"))),
        "apply": node(
            "FidelityApply", model=["model", 0], method=["method", 0], targets=["targets", 1],
            strength=strength, start_percent=0.0, end_percent=rng.choice((0.5, 1.0)),
        ),
        "latent": node("EmptyLatentImage", width=width, height=height, batch_size=batch),
        "sampler": node(
            "KSampler", model=["apply", 0], positive=["targets", 0], negative=["negative", 0],
            latent_image=["latent", 0], seed=rng.randrange(1 << 32), steps=steps, cfg=rng.choice((1.0, 4.0)),
            sampler_name=sampler, scheduler=rng.choice(_SCHEDULERS), denoise=rng.choice((1.0, 1.0, 0.7)),
        ),
        "picture": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
    }  # fmt: skip
    _choose_method(rng, graph, network, method)
    if method in METHODS and METHODS[method].takes_layout:
        _place(rng, graph, width, height)
    return graph


def _choose_method(rng: random.Random, graph: dict, network: str, method: str) -> None:
    if method == "auto":
        graph["method"] = node("FidelitySelectMethod", method="auto")
    elif method == "two":
        for number, name in enumerate(("t_sam", rng.choice(("syngen", "attention_regulation"))), start=1):
            graph[f"method {number}"] = _method(network, name)
        graph["method"] = node(
            "FidelityCombineMethods", method_1=["method 1", 0], weight_1=1.0, method_2=["method 2", 0], weight_2=0.5
        )
    else:
        graph["method"] = _method(network, method)


def _method(network: str, name: str) -> dict:
    presets = list(METHODS[name].PRESETS)
    preset = DEMO_PRESET if network == "demo" and DEMO_PRESET in presets else presets[0]
    return node("FidelitySelectMethod", **{"method": name, "method.preset": preset})


def _place(rng: random.Random, graph: dict, width: int, height: int) -> None:
    """Regions for a method that works in them: the solver's, or where the model looks."""
    attention = rng.random() < 0.5
    settings = {"predictor.size": 1.0, "predictor.margin": 0.04, "predictor.gap": 0.02}
    settings |= {"predictor": "attention", "predictor.steps": 2} if attention else {"predictor": "solver"}
    looked = {"model": ["model", 0], "conditioning": ["targets", 0]} if attention else {}
    graph["layout"] = node(
        "FidelityPredictLayout", targets=["targets", 1], width=width, height=height, seed=1, **settings, **looked
    )
    graph["apply"]["inputs"]["layout"] = ["layout", 0]


def _with_look(graph: dict) -> dict:
    maps = node("FidelityViewMaps", record=["apply", 1], targets=["targets", 1], image=["picture", 0], attributes=True)
    return {"maps": maps, "look": node("SoakLook", image=["picture", 0])} | graph


def without_ours(graph: dict) -> dict:
    """The same graph as it was before the artist had the pack."""
    kept = {name: what for name, what in graph.items() if what["class_type"] not in _ACTING}
    kept["targets"] = node("CLIPTextEncode", clip=["model", 1], text=graph["targets"]["inputs"]["text"])
    kept["sampler"] = node("KSampler", **{**kept["sampler"]["inputs"], "model": ["model", 0]})
    return kept | {"look": node("SoakLook", image=["picture", 0])}


_ACTING = ("FidelityApply", "FidelitySelectMethod", "FidelityCombineMethods", "FidelityPredictLayout",
           "FidelityLayoutFromBoxes", "FidelityViewMaps", "FidelityExtractTargets", "SoakFails")  # fmt: skip


def _spoil(graph: dict, mistake: str) -> None:
    inputs = {name: what["inputs"] for name, what in graph.items()}
    if mistake == "a word that is not in the prompt":
        inputs["targets"]["words"] = "zebra"
    elif mistake == "a window that ends before it starts":
        inputs["apply"] |= {"start_percent": 0.8, "end_percent": 0.2}
    elif mistake == "a sampler that is refused":
        graph["method"] = _method("sd1", "t_sam")
        inputs["apply"]["strength"] = 1.0
        inputs["sampler"]["sampler_name"] = _REFUSED[0]
    elif mistake == "another node's conditioning":
        inputs["sampler"]["positive"] = ["negative", 0]
    elif mistake == "a resolution that the model lacks":
        graph["method"] = node("SoakMethod", resolution="1/8")
    elif mistake == "boxes that are no JSON":
        graph["layout"] = node("FidelityLayoutFromBoxes", targets=["targets", 1], width=128, height=128, json="[{")
        inputs["apply"]["layout"] = ["layout", 0]
    elif mistake == "no CLIP":
        graph["no CLIP"] = node("SoakNothing")
        inputs["targets"]["clip"] = ["no CLIP", 0]
    elif mistake == "an image of another batch":
        graph["images"] = node("EmptyImage", width=64, height=64, batch_size=5, color=0)
        graph["picture"] = node("ImageBatch", image1=["images", 0], image2=["drawn", 0])
        graph["drawn"] = node("VAEDecode", samples=["sampler", 0], vae=["model", 2])
    elif mistake == "a value beyond its range":
        inputs["apply"]["strength"] = 99.0
    elif mistake == "a network that fails":
        graph["failing"] = node("SoakFails", model=["apply", 0], after=1)
        inputs["sampler"]["model"] = ["failing", 0]
