"""A model small enough to come with the pack, so that every workflow runs before anything is downloaded."""

from comfy_api.latest import io

from ..host.demo_model import load_demo_model
from .types import CATEGORY


class FidelityLoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityLoadDemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            description="Loads TinyShapes, a tiny model that comes with the pack and draws coloured shapes such as 'a red ball and a blue ring'. "
            "Replace it with Load Checkpoint to work with a real model.",
            search_aliases=["tinyshapes", "checkpoint"],
            inputs=[],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_model())


NODES = [FidelityLoadDemoModel]
