"""What the artist sees: one module per topic, each with its list of nodes."""

from comfy_api.latest import ComfyExtension, io

from . import apply, combine, demo, maps, methods, targets

NODES = [*targets.NODES, *methods.NODES, *apply.NODES, *maps.NODES, *demo.NODES, *combine.NODES]


class PromptFidelityExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
