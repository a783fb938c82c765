"""The pack's own wires. Everything else is the host's own type."""

from comfy_api.latest import io

Targets = io.Custom("FIDELITY_TARGETS")
Method = io.Custom("FIDELITY_METHOD")
Record = io.Custom("FIDELITY_RECORD")
Layout = io.Custom("FIDELITY_LAYOUT")

# The host's wire for lists, as of the canvas's elements; hosts up to 0.18.2 have the canvas's other wires only.
Elements = getattr(io, "Array", None) or io.Custom("ARRAY")

CATEGORY = "Prompt Fidelity"


def clip_inputs() -> list[io.Input]:
    """The two parts of a CLIP model that looks at pictures: inputs `clip` and `clip_vision`."""
    return [
        io.Clip.Input(
            "clip",
            tooltip="The text part of a whole CLIP model, with its projection: from Load CLIP or Load "
            "Demo CLIP, not from a checkpoint.",
        ),
        io.ClipVision.Input(
            "clip_vision",
            tooltip="The picture part of the same CLIP model: from Load CLIP Vision or Load Demo CLIP.",
        ),
    ]


def node_id_of(node: type[io.ComfyNode]) -> str | None:
    """The running node's id in the graph, where to show text; None when a script calls `execute` itself."""
    return node.hidden.unique_id if node.hidden else None
