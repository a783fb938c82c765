"""A look at what the model paid attention to, and at what the method did about it."""

from comfy_api.latest import io, ui

from ..core.show import render
from ..core.show.report import report
from ..host.progress import queue_entry, show_on_node
from .types import CATEGORY, Record, Targets, node_id_of


class FidelityViewMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityViewMaps",
            display_name="View Attention Maps",
            category=CATEGORY,
            description="Shows, for every target, where in the picture the model attended to it, how the method's loss "
            "went down, and what was applied.",
            search_aliases=["attention heat map", "daam", "cross attention"],
            inputs=[
                Record.Input("record", tooltip="From Apply Attention Control."),
                Targets.Input("targets", tooltip="From Extract Targets: the objects to show."),
                io.Image.Input("image", tooltip="The picture that was drawn, after VAE Decode."),
                io.Boolean.Input(
                    "attributes",
                    default=False,
                    tooltip="Also show the maps of the attributes, such as 'black' of a black car.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "overlay",
                    display_name="overlay",
                    tooltip="The picture under each target's map, one after the other.",
                ),
                io.Mask.Output(
                    "masks", display_name="masks", tooltip="One mask per target, 0 to 1, the size of the picture."
                ),
                io.Image.Output(
                    "loss_plot", display_name="loss plot", tooltip="The loss of every target over the steps."
                ),
                io.String.Output("report", display_name="report", tooltip="What was applied and what it did."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, record, targets, image, attributes: bool) -> io.NodeOutput:
        run, sure = record.run_of(image, queue_entry())
        names, maps = run.maps.shown(targets, attributes)
        overlays = render.overlays(image, maps, names)
        masks = render.masks(maps, tuple(image.shape[1:3]))
        text = report(record, run, sure)
        show_on_node(text, node_id_of(cls))
        return io.NodeOutput(overlays, masks, render.loss_plot(run), text, ui=ui.PreviewImage(overlays, cls=cls))


NODES = [FidelityViewMaps]
