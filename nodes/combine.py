"""Several methods at work on the same picture."""

from comfy_api.latest import io

from ..core.methods.combined import CombinedMethods
from .types import CATEGORY, Method

# The first two are needed; more than four losses at once pull a picture apart.
_NEEDED, _MOST = 2, 4


def _inputs(number: int) -> list[io.Input]:
    optional = number > _NEEDED
    return [
        Method.Input(
            f"method_{number}", optional=optional, tooltip="From Select Method, or from another Combine Methods node."
        ),
        io.Float.Input(
            f"weight_{number}",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            optional=optional,
            tooltip=f"Multiplies the steps of method {number}. 0 leaves it out.",
        ),
    ]


class FidelityCombineMethods(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityCombineMethods",
            display_name="Combine Methods",
            category=CATEGORY,
            description="Several methods as one: each keeps its own settings and its own part of the run, and all of "
            "them share one gradient pass, "
            "so two cost hardly more than one. Connect it to Apply Attention Control.",
            search_aliases=["mix methods", "blend methods"],
            inputs=[one for number in range(1, _MOST + 1) for one in _inputs(number)],
            outputs=[Method.Output("method", display_name="method", tooltip="The methods with their weights.")],
        )

    @classmethod
    def execute(cls, **chosen) -> io.NodeOutput:
        pairs = [
            (chosen.get(f"method_{number}"), chosen.get(f"weight_{number}", 1.0)) for number in range(1, _MOST + 1)
        ]
        return io.NodeOutput(CombinedMethods([(method, weight) for method, weight in pairs if method is not None]))


NODES = [FidelityCombineMethods]
