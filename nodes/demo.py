"""A model small enough to come with the pack, so that every workflow runs before anything is downloaded."""

from comfy_api.latest import io

from ..host.models.demo_clip import load_demo_clip
from ..host.models.demo_model import load_demo_model
from ..host.models.demo_scenes import load_demo_scenes
from .types import CATEGORY

LOADERS = {"scenes": load_demo_scenes, "shapes": load_demo_model}


class FidelityLoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityLoadDemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            description="Loads a tiny model that comes with the pack: TinyShapes, which draws coloured shapes such as "
            "'a red ball and a blue ring', or TinyScenes, which draws emoji such as 'a cat and a red backpack'. "
            "Replace it with Load Checkpoint to work with a real model.",
            search_aliases=["tinyshapes", "tinyscenes", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(LOADERS),
                    default="scenes",
                    optional=True,
                    tooltip="shapes: TinyShapes, coloured shapes, built like Stable Diffusion 1. scenes: TinyScenes, "
                    "animals and things as emoji, built like Flux.",
                ),
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, model: str = "shapes") -> io.NodeOutput:  # what prompts of earlier versions mean, which name none
        return io.NodeOutput(*LOADERS[model]())


class FidelityLoadDemoCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityLoadDemoCLIP",
            display_name="Load Demo CLIP",
            category=CATEGORY,
            description="Loads TinyCLIP, a tiny CLIP that comes with the pack and knows how well a picture of coloured "
            "shapes fits a text. "
            "It is for the demo model's pictures: for a real model, use Load CLIP and Load CLIP Vision.",
            search_aliases=["tinyclip", "clip vision", "clip score"],
            inputs=[],
            outputs=[
                io.Clip.Output(
                    tooltip="The text part, for Score Fidelity. To encode the demo model's prompts, use Load Demo "
                    "Model's own CLIP."
                ),
                io.ClipVision.Output(tooltip="The picture part."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_clip())


NODES = [FidelityLoadDemoModel, FidelityLoadDemoCLIP]
