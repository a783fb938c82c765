"""The layout nodes in the host: every predictor, the canvas's forms, and what goes wrong for the artist."""

import json
from pathlib import Path

import folder_paths
import pytest
import torch
from comfy_api.latest import io
from hostkit import encoded, models
from prompt_fidelity.core.errors import MethodError
from prompt_fidelity.core.prompt.targets import Relation
from prompt_fidelity.host.errors import HostError
from prompt_fidelity.host.layout.predictors import PREDICTORS
from prompt_fidelity.nodes.layout import FidelityLayoutFromBoxes, FidelityLayoutFromMasks, FidelityPredictLayout

PROMPT = "a black car to the left of a white clock"


def predicted(predictor="solver", prompt=PROMPT, size=(128, 96), seed=0, conditioning=None, **more):
    values = {"predictor": predictor, "size": 1.0, "margin": 0.04, "gap": 0.02, **more.pop("settings", {})}
    with torch.inference_mode():
        return FidelityPredictLayout.execute(
            encoded("sd1", prompt)[1], *size, values, seed, conditioning=conditioning, **more
        ).args


def test_the_solver_needs_nothing_else():
    layout, preview, bboxes, elements = predicted()
    assert layout.holds(Relation(0, "left of", 1)) and [p.name for p in layout.placements] == [
        "black car",
        "white clock",
    ]
    assert preview.ndim == 4 and preview.shape[0] == 1 and preview.shape[-1] == 3
    assert [box["metadata"]["desc"] for box in bboxes[0]] == [element["desc"] for element in elements]
    assert (
        predicted(seed=1, prompt="a black car and a white clock")[0]
        != predicted(seed=2, prompt="a black car and a white clock")[0]
    )


def test_the_choice_of_predictors_shows_their_settings():
    combo = next(one for one in FidelityPredictLayout.GET_SCHEMA().inputs if one.id == "predictor")
    assert [option.key for option in combo.options] == list(PREDICTORS) == ["solver", "learned", "attention"]
    assert {widget.id for widget in combo.options[2].inputs} == {"size", "margin", "gap", "steps"}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_attention_predictor_looks_at_the_first_steps(family):
    model = models(family)[0]
    conditioning, targets = encoded(family, PROMPT)
    values = {"predictor": "attention", "size": 1.0, "margin": 0.04, "gap": 0.02, "steps": 2}
    with torch.inference_mode():
        layout = FidelityPredictLayout.execute(targets, 128, 96, values, 5, model, conditioning).args[0]
        again = FidelityPredictLayout.execute(targets, 128, 96, values, 5, model, conditioning).args[0]
    assert layout == again and layout.holds(Relation(0, "left of", 1))
    assert all(placement.box.is_inside for placement in layout.placements)


def test_the_attention_predictor_says_what_it_lacks():
    with pytest.raises(HostError, match="connect the model, and the conditioning"):
        predicted("attention", settings={"steps": 2})
    with pytest.raises(HostError, match="does not come from the Extract Targets"):
        predicted("attention", settings={"steps": 2}, model=models("sd1")[0], conditioning=encoded("sd1", "a dog")[0])


def test_the_learned_predictor_names_every_missing_file(tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "layout_predictors", ([str(tmp_path)], set()))
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path.parent))
    with pytest.raises(HostError) as caught:
        predicted("learned", settings={"sample": False})
    assert all(
        word in str(caught.value) for word in ("checkpoint", "vocab.json", "merges.txt", str(tmp_path), "solver")
    )
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "predictor.pth").write_bytes(b"")
    with pytest.raises(HostError) as caught:
        predicted("learned", settings={"sample": False})
    assert (
        "merges.txt" in str(caught.value)
        and "vocab.json" not in str(caught.value)
        and "checkpoint" not in str(caught.value)
    )


def test_the_learned_predictor_reads_its_files(tmp_path, monkeypatch):
    from transformers import RobertaConfig, RobertaModel

    text, head = "encoder.model.encoder.sentence_encoder.", "bbox_head.Decoder."
    letters = [chr(c) for c in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x180))]
    (tmp_path / "vocab.json").write_text(
        json.dumps({p: i for i, p in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"])})
    )
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    roberta = RobertaModel(
        RobertaConfig(
            vocab_size=len(letters) + 5,
            hidden_size=64,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=32,
            max_position_embeddings=90,
            type_vocab_size=1,
        )
    )
    layer, embeddings = roberta.encoder.layer[0], roberta.embeddings
    parts = {
        "self_attn.q_proj": layer.attention.self.query,
        "self_attn.k_proj": layer.attention.self.key,
        "self_attn.v_proj": layer.attention.self.value,
    }
    parts |= {
        "self_attn.out_proj": layer.attention.output.dense,
        "self_attn_layer_norm": layer.attention.output.LayerNorm,
    }
    parts |= {"fc1": layer.intermediate.dense, "fc2": layer.output.dense, "final_layer_norm": layer.output.LayerNorm}
    modules = {f"{text}layers.0.{name}": module for name, module in parts.items()} | {
        f"{text}layernorm_embedding": embeddings.LayerNorm
    }
    modules |= {
        f"{head}output_Layer": torch.nn.Linear(64, 64),
        f"{head}box_predictor.xy_bivariate": torch.nn.Linear(64, 30),
    }
    state = {
        f"{name}.{kind}": getattr(module, kind).detach()
        for name, module in modules.items()
        for kind in ("weight", "bias")
    }
    state |= {
        f"{text}embed_tokens.weight": embeddings.word_embeddings.weight.detach(),
        f"{text}embed_positions.weight": embeddings.position_embeddings.weight.detach(),
    }
    torch.save({"state_dict": state | {f"{text}object_embedding": torch.randn(1, 64)}}, tmp_path / "checkpoint.pth")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "layout_predictors", ([str(tmp_path)], set()))
    layout = predicted("learned", settings={"sample": True})[0]
    assert layout == predicted("learned", settings={"sample": True})[0] and layout.holds(Relation(0, "left of", 1))


def test_the_folder_is_one_of_the_hosts():
    from prompt_fidelity.host.layout.files import register_folder

    register_folder()
    assert str(Path(folder_paths.models_dir) / "layout_predictors") in folder_paths.get_folder_paths(
        "layout_predictors"
    )


def test_a_layout_goes_to_the_canvas_and_comes_back():
    """Through the host's own Create Bounding Boxes where the host has it, with a box moved by hand."""
    layout, _, bboxes, elements = predicted(size=(640, 480))
    targets = encoded("sd1", PROMPT)[1]
    if hasattr(io, "BoundingBoxes"):
        from comfy_extras.nodes_bounding_boxes import CreateBoundingBoxes

        drawn = CreateBoundingBoxes.execute(640, 480, bboxes=elements).args
        by_pixels = CreateBoundingBoxes.execute(640, 480, bboxes=bboxes).args[2]
        assert [element["desc"] for element in by_pixels] == [element["desc"] for element in elements]
        _, bboxes, elements = drawn
    for form in (elements, bboxes):
        back = FidelityLayoutFromBoxes.execute(targets, 640, 480, form).args[0]
        for target in (0, 1):
            assert back.of(target).box.centre == pytest.approx(layout.of(target).box.centre, abs=4e-3)
    elements[0]["bbox"] = [0, 0, 300, 300]
    moved, preview = FidelityLayoutFromBoxes.execute(targets, 640, 480, elements, image=torch.rand(1, 48, 64, 3)).args
    assert moved.of(0).box.right == 0.3 and preview.shape[-1] == 3


def test_boxes_as_text_and_masks():
    targets = encoded("sd1", PROMPT)[1]
    layout = FidelityLayoutFromBoxes.execute(
        targets, 64, 64, None, '[{"bbox": [0, 0, 500, 500], "desc": "clock"}]'
    ).args[0]
    assert [p.name for p in layout.placements] == ["white clock"]
    masks = torch.zeros(2, 32, 48)
    masks[0, :16], masks[1, 16:] = 1, 1
    layout, preview = FidelityLayoutFromMasks.execute(targets, masks, "clock, car").args
    assert layout.of(1).box.bottom == 0.5 and layout.of(0).box.top == 0.5 and preview.ndim == 4
    with pytest.raises(MethodError, match="not an object of the prompt"):
        FidelityLayoutFromMasks.execute(targets, masks, "clock, dog")
    with pytest.raises(MethodError, match="lies outside the picture"):
        FidelityLayoutFromBoxes.execute(targets, 64, 64, [[{"x": 60, "y": 0, "width": 60, "height": 9}]])
