"""The nodes as a contract: workflows store widget values by position, so ids, names and order only ever grow."""

import asyncio
from pathlib import Path

import pytest
import torch
from hostkit import PROMPT, models
from prompt_fidelity import comfy_entrypoint
from prompt_fidelity.core.methods import METHODS
from prompt_fidelity.core.show.report import report
from prompt_fidelity.nodes import NODES
from prompt_fidelity.nodes.apply import FidelityApply
from prompt_fidelity.nodes.combine import FidelityCombineMethods
from prompt_fidelity.nodes.maps import FidelityCompareMaps, FidelityViewMaps, FidelityWordsAt
from prompt_fidelity.nodes.methods import FidelitySelectMethod
from prompt_fidelity.nodes.targets import FidelityExtractTargets

ROOT = Path(__file__).resolve().parents[2]

CONTRACT = {
    "FidelityExtractTargets": (["clip", "text", "words"], ["CONDITIONING", "FIDELITY_TARGETS", "STRING"]),
    "FidelityTargetsInConditioning": (
        ["conditioning", "clip", "text", "words"],
        ["CONDITIONING", "FIDELITY_TARGETS", "STRING"],
    ),
    "FidelitySelectMethod": (["method"], ["FIDELITY_METHOD"]),
    "FidelityApply": (
        "model method targets strength start_percent end_percent layout recompute blocks look_again".split(),
        ["MODEL", "FIDELITY_RECORD"],
    ),
    "FidelityViewMaps": (
        ["record", "targets", "image", "attributes", "details"],
        ["IMAGE", "MASK", "IMAGE", "STRING", "STRING", "IMAGE"],
    ),
    "FidelityCompareMaps": (["targets", "record_before", "image_before", "record_after", "image_after"], ["IMAGE"]),
    "FidelityWordsAt": (["record", "image", "x", "y", "mask"], ["STRING"]),
    "FidelityPredictLayout": (
        ["targets", "width", "height", "predictor", "seed", "model", "conditioning"],
        ["FIDELITY_LAYOUT", "IMAGE", "BOUNDING_BOX", "ARRAY"],
    ),
    "FidelityLayoutFromBoxes": (["targets", "width", "height", "boxes", "json", "image"], ["FIDELITY_LAYOUT", "IMAGE"]),
    "FidelityLayoutFromMasks": (["targets", "masks", "objects", "image"], ["FIDELITY_LAYOUT", "IMAGE"]),
    "FidelityLoadDemoModel": (["model"], ["MODEL", "CLIP", "VAE"]),
    "FidelityCombineMethods": (
        ["method_1", "weight_1", "method_2", "weight_2", "method_3", "weight_3", "method_4", "weight_4"],
        ["FIDELITY_METHOD"],
    ),
    "FidelityLoadDemoCLIP": ([], ["CLIP", "CLIP_VISION"]),
    "FidelityScore": (["image", "targets", "clip", "clip_vision"], ["FLOAT", "FLOAT", "STRING"]),
    "FidelityOptimiseSpaceTime": (
        "model positive negative targets layout vae clip clip_vision latent seed steps cfg scheduler epochs "
        "learning_rate method".split(),
        ["FIDELITY_METHOD", "IMAGE", "STRING"],
    ),
    "FidelitySpaceTimeWeights": (["weights"], ["FIDELITY_METHOD"]),
    "FidelityPickSeeds": (
        "model positive negative targets latent first_seed count share steps cfg sampler_name scheduler denoise keep "
        "vae at_once".split(),
        ["INT", "INT", "STRING", "IMAGE"],
    ),
}
PRESETS = {
    "t_sam": ["repo", "paper", "paper-free", "one-pass", "scenes", "demo"],
    "attend_and_excite": ["published", "one-pass", "demo"],
    "attention_regulation": ["default", "published", "scenes", "demo"],
    "syngen": ["published", "one-pass", "demo"],
    "divide_and_bind": ["paper", "demo"],
    "space_time": ["paper", "repo", "scenes", "demo"],
    "layout_guidance": ["published", "one-pass", "scenes", "demo"],
    "box_diff": ["published", "demo"],
    "initial_editing": ["default"],
    "focus": ["published", "scenes", "demo"],
    "taca": ["published", "demo"],
}


def test_the_extension_offers_every_node():
    extension = asyncio.run(comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == NODES
    assert {node.define_schema().node_id for node in NODES} == set(CONTRACT)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_ids_inputs_and_outputs_keep_their_names_and_order(node):
    schema = node.GET_SCHEMA()
    inputs, outputs = CONTRACT[schema.node_id]
    assert [one.id for one in schema.inputs][: len(inputs)] == inputs
    assert [one.io_type for one in schema.outputs][: len(outputs)] == outputs


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_everything_is_explained(node):
    schema = node.GET_SCHEMA()
    assert schema.category == "Prompt Fidelity" and len(schema.description) > 40
    assert all(one.tooltip for one in schema.inputs)
    assert all(one.tooltip for one in schema.outputs) or schema.node_id == "FidelityLoadDemoModel"
    page = ROOT / "web" / "docs" / f"{schema.node_id}.md"
    text = page.read_text()
    assert all(
        f"`{one.id}`" in text or one.display_name and f"**{one.display_name}**" in text for one in schema.inputs
    ), page


def test_every_method_and_preset_can_be_chosen():
    method = FidelitySelectMethod.GET_SCHEMA().inputs[0]
    assert [option.key for option in method.options] == ["auto", *METHODS]  # a fresh node starts at auto
    for option in method.options[1:]:
        presets = [preset.key for preset in option.inputs[0].options]
        assert presets == ["auto", *PRESETS[option.key], "custom"]
        for preset in presets[:-1]:
            (chosen,) = FidelitySelectMethod.execute({"method": option.key, "preset": {"preset": preset}}).args
            assert chosen.preset == preset


@pytest.mark.parametrize("name", METHODS)
def test_custom_settings_start_from_the_first_preset_and_can_be_changed(name):
    option = next(option for option in FidelitySelectMethod.GET_SCHEMA().inputs[0].options if option.key == name)
    custom = option.inputs[0].options[-1]
    values = {widget.id: widget.default for widget in custom.inputs}
    (same,) = FidelitySelectMethod.execute({"method": name, "preset": {"preset": "custom", **values}}).args
    assert same.settings == METHODS[name]().settings
    (changed,) = FidelitySelectMethod.execute(
        {"method": name, "preset": {"preset": "custom", **values, "end": 0.31}}
    ).args
    assert changed.preset == "custom" and changed.settings.end == 0.31


def test_a_list_of_numbers_is_read_or_refused_by_name():
    def chosen(refine_at: str):
        return FidelitySelectMethod.execute(
            {"method": "t_sam", "preset": {"preset": "custom", "refine_at": refine_at}}
        ).args[0]

    assert chosen("0.1; 0.3").settings.refine_at == (0.1, 0.3)
    with pytest.raises(ValueError, match="refine at.*numbers"):
        chosen("early")


def select(name: str, preset: str):
    return FidelitySelectMethod.execute({"method": name, "preset": {"preset": preset}}).args[0]


def drawn_with(method):
    """(latent, report) of a short run through the nodes."""
    from nodes import KSampler

    model, clip, _ = models("sd1")
    with torch.inference_mode():
        positive, targets, _ = FidelityExtractTargets.execute(clip, PROMPT).args
        negative = FidelityExtractTargets.execute(clip, "").args[0]
        patched, record = FidelityApply.execute(model, method, targets, 0.05, 0.0, 1.0).args
        latent = KSampler().sample(
            patched, 1, 6, 5.0, "euler", "normal", positive, negative, {"samples": torch.zeros(1, 4, 16, 16)}, 1.0
        )[0]
    return latent["samples"], report(record)


def test_combined_methods_run_as_one():
    pairs = {
        "method_1": select("t_sam", "paper"),
        "weight_1": 0.5,
        "method_2": select("syngen", "published"),
        "weight_2": 2.0,
    }
    (combined,) = FidelityCombineMethods.execute(**pairs).args
    latent, text = drawn_with(combined)
    assert torch.isfinite(latent).all() and "0.5 × T-SAM" in text and "2 × SynGen" in text
    alone, _ = drawn_with(FidelityCombineMethods.execute(**pairs | {"weight_2": 0.0}).args[0])
    assert not torch.equal(latent, alone)


def test_auto_chooses_when_the_prompt_is_known_and_says_why():
    (auto,) = FidelitySelectMethod.execute({"method": "auto"}).args
    _, text = drawn_with(auto)
    assert "Chosen by auto: " in text and "several objects with attributes" in text


def test_an_empty_prompt_is_said_at_once_and_the_picture_passes_through():
    from nodes import KSampler, VAEDecode

    model, clip, vae = models("sd1")
    with torch.inference_mode():
        positive, targets, _ = FidelityExtractTargets.execute(clip, "").args
        applied = FidelityApply.execute(model, select("t_sam", "repo"), targets, 1.0, 0.0, 1.0)
        assert "The prompt is empty" in applied.ui["text"][0]
        patched, record = applied.args
        latent = {"samples": torch.zeros(1, 4, 16, 16)}
        drawn = KSampler().sample(patched, 1, 2, 5.0, "euler", "normal", positive, positive, latent, 1.0)[0]
        image = VAEDecode().decode(vae, drawn)[0]
        overlay, masks, *_, verdict, _ = FidelityViewMaps.execute(record, targets, image, False).args
    assert torch.equal(overlay, image) and not masks.any() and "The prompt is empty" in verdict


def test_an_error_is_a_sentence_without_a_path():
    import pickle

    from execution import full_type_name
    from prompt_fidelity.core.errors import MethodError
    from prompt_fidelity.host.errors import HostError

    for kind in (MethodError, HostError):
        assert full_type_name(kind) == kind.__name__
        again = pickle.loads(pickle.dumps(kind("the word")))
        assert type(again) is ValueError and str(again) == "the word"


def test_progress_goes_to_the_browser_that_queued_the_run_alone(monkeypatch):
    from prompt_fidelity.host import progress

    sent = []

    class Server:
        client_id = "a"

        def send_progress_text(self, text, node_id, sid=None):
            sent.append((text, node_id, sid))

    class Holder:
        instance = Server()

    monkeypatch.setattr(progress, "PromptServer", Holder)
    progress.show_on_node("step 1", "7")
    Holder.instance.client_id = None  # queued by a script: no page has this graph
    progress.show_on_node("step 2", "7")
    assert sent == [("step 1", "7", "a")]


def test_the_chain_from_prompt_to_report():
    from nodes import KSampler, VAEDecode

    model, clip, vae = models("sd1")
    with torch.inference_mode():
        positive, targets, summary = FidelityExtractTargets.execute(clip, PROMPT).args
        negative = FidelityExtractTargets.execute(clip, "").args[0]
        (method,) = FidelitySelectMethod.execute({"method": "t_sam", "preset": {"preset": "repo"}}).args
        patched, record = FidelityApply.execute(model, method, targets, 1.0, 0.0, 1.0).args
        latent = KSampler().sample(
            patched, 1, 6, 5.0, "euler", "normal", positive, negative, {"samples": torch.zeros(2, 4, 16, 24)}, 1.0
        )[0]
        image = VAEDecode().decode(vae, latent)[0]
        result = FidelityViewMaps.execute(record, targets, image, False)
        words = FidelityWordsAt.execute(record, image, 0.5, 0.5)
        pair = FidelityCompareMaps.execute(targets, record, image, record, image)
        overlay, masks, plot, text, verdict, film = result.args
    assert "car" in summary and "clock" in summary
    assert len(overlay) == 2 * (1 + 2), "each image with both objects, and with each alone"
    assert masks.shape == (4, *image.shape[1:3]) and film.ndim == pair.args[0].ndim == 4
    assert text.startswith(verdict) and ("✓" in verdict or "✗" in verdict)
    shown = result.ui
    assert shown["text"] == (verdict,) and len(shown["images"]) == len(overlay), "settings stay in the report"
    assert "arXiv" not in verdict and "arXiv" in text
    assert "car" in words.args[0] and pair.ui["text"][0].startswith("Before: ")
    assert 0 <= float(masks.min()) and float(masks.max()) <= 1
    assert plot.ndim == 4 and plot.shape[0] == 1 and float(plot.std()) > 0
    assert "T-SAM" in text and "→" in text
