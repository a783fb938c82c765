"""The patch: a model that applies a method to its targets while it samples."""

from comfy_api.latest import io

from ..host.progress import with_text
from ..host.sampling.ability import abilities
from ..host.sampling.install import attach
from ..host.sampling.recompute import CHOICES
from ..host.sampling.second_look import CHOICES as LOOKS
from .types import CATEGORY, Layout, Method, Record, Targets, node_id_of


class FidelityApply(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityApply",
            display_name="Apply Attention Control",
            category=CATEGORY,
            description="Gives back the model with a method attached: while any sampler draws the picture, the method "
            "sees to it that every target is drawn. "
            "Put it between the model (LoRAs included) and the sampler.",
            search_aliases=["prompt fidelity", "attend and excite", "t-sam", "missing object"],
            inputs=[
                io.Model.Input("model", tooltip="A model that draws pictures from words; README lists the families."),
                Method.Input("method", tooltip="From Select Method."),
                Targets.Input(
                    "targets", tooltip="From the Extract Targets node whose conditioning goes to the sampler."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip="Multiplies the method's steps. 0 leaves the picture exactly as it is and only records the "
                    "attention maps.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Act only after this part of the noise schedule; 0 is pure noise.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Act only before this part of the noise schedule. The method's own window (for most the "
                    "first half) still holds.",
                ),
                Layout.Input(
                    "layout",
                    optional=True,
                    tooltip="Where the objects go, for Space-Time Attention, Layout Guidance, BoxDiff and Initial "
                    "Image Editing: from Predict Layout, Layout from Boxes or Layout from Masks.",
                ),
                io.Combo.Input(
                    "recompute",
                    options=list(CHOICES),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Memory for time, in methods with gradients: on runs the network's blocks again instead of "
                    "keeping what they made (the picture stays the same to the bit), auto does so where memory is "
                    "short.",
                ),
                io.String.Input(
                    "blocks",
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Which of the network's blocks are looked at and edited. auto: those that carry the words' "
                    "meaning in published studies of its family; all; or some by name and number, such as "
                    "double 10-18, single 0-3.",
                ),
                io.Combo.Input(
                    "look_again",
                    options=list(LOOKS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="After the last step the model is asked whether it sees each object in the picture, which "
                    "makes the verdict on View Attention Maps surer. on takes half of the picture's time again, "
                    "thorough two to three times it; auto asks Flux and its kin, whose attention maps tell little.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="Connect it to the sampler."),
                Record.Output(
                    "record",
                    display_name="record",
                    tooltip="What the method saw and did: connect it to View Attention Maps.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        method,
        targets,
        strength: float,
        start_percent: float,
        end_percent: float,
        layout=None,
        recompute: str = "auto",
        blocks: str = "auto",
        look_again: str = "auto",
    ) -> io.NodeOutput:
        node = node_id_of(cls)
        patched, record = attach(
            model,
            method,
            targets,
            strength=strength,
            start=start_percent,
            end=end_percent,
            node_id=node,
            layout=layout,
            recompute=recompute,
            blocks=blocks,
            look_again=look_again,
        )
        said = "\n".join(record.warnings) or f"{record.method.title} is attached."
        return io.NodeOutput(patched, record, ui=with_text(f"{said}\n{abilities(model)}"))


NODES = [FidelityApply]
