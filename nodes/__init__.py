"""What the artist sees: one module per topic, each with its list of nodes. No tensor arithmetic."""

from comfy_api.latest import ComfyExtension, io

from ..host.layout.files import register_folder
from . import apply, combine, demo, layout, maps, methods, optimise, score, seeds, targets

NODES = [
    *targets.NODES,
    *layout.NODES,
    *methods.NODES,
    *apply.NODES,
    *maps.NODES,
    *demo.NODES,
    *combine.NODES,
    *score.NODES,
    *optimise.NODES,
    *seeds.NODES,
]


class PromptFidelityExtension(ComfyExtension):
    async def on_load(self) -> None:
        register_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
