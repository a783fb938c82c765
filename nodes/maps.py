"""A look at what the model paid attention to, and at what the method did about it."""

from comfy_api.latest import io, ui

from ..core.show import render
from ..core.show.pictures import before_and_after, empty_masks, filmstrip, object_sheets
from ..core.show.report import report
from ..core.show.verdict import summary
from ..core.show.viewed import said, viewed
from ..core.show.words import words_at
from ..host.progress import queue_entry, with_text
from .types import CATEGORY, Record, Targets


class FidelityViewMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityViewMaps",
            display_name="View Attention Maps",
            category=CATEGORY,
            description="Says which objects of the prompt are in the picture, shows where the model looked for each of "
            "them, and what the method did about it.",
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
                io.Boolean.Input(
                    "details",
                    default=False,
                    optional=True,
                    tooltip="Also show the whole report on the node: settings, steps, losses. It is in the report "
                    "output in any case.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "overlay",
                    display_name="overlay",
                    tooltip="Each picture with all objects outlined in their colours, then with each object alone.",
                ),
                io.Mask.Output(
                    "masks", display_name="masks", tooltip="One mask per target, 0 to 1, the size of the picture."
                ),
                io.Image.Output(
                    "loss_plot", display_name="loss plot", tooltip="The loss of every target over the steps."
                ),
                io.String.Output("report", display_name="report", tooltip="What was applied and what it did."),
                io.String.Output(
                    "verdict", display_name="verdict", tooltip="Which objects are there, as far as the maps tell."
                ),
                io.Image.Output(
                    "filmstrip",
                    display_name="filmstrip",
                    tooltip="The first picture's objects, step by step.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, record, targets, image, attributes: bool, details: bool = False) -> io.NodeOutput:
        run, sure = record.run_of(image, queue_entry())
        view = viewed(run, targets, image, attributes)
        sheets = object_sheets(image, view.maps, view.names, view.colours, view.marks)
        film = filmstrip(view.frames, image[0], view.names, view.colours)
        verdict, whole = said(record, run, view, sure), report(record, run, sure)
        text = f"{verdict}\n\n{whole}" if details else verdict
        return io.NodeOutput(
            sheets,
            render.masks(view.maps, tuple(image.shape[1:3])) if view.names else empty_masks(image),
            render.loss_plot(run),
            f"{verdict}\n\n{whole}",
            verdict,
            film,
            ui=with_text(text, ui.PreviewImage(sheets, cls=cls)),
        )


class FidelityCompareMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityCompareMaps",
            display_name="Compare Attention Maps",
            category=CATEGORY,
            description="Shows the objects' attention of two runs of the same prompt beside each other, on one scale: "
            "for example without a method (strength 0) and with it.",
            search_aliases=["before after", "attention heat map", "daam"],
            inputs=[
                Targets.Input("targets", tooltip="From Extract Targets: the objects to show."),
                Record.Input("record_before", tooltip="From the first Apply Attention Control, say at strength 0."),
                io.Image.Input("image_before", tooltip="The picture that was drawn with it."),
                Record.Input("record_after", tooltip="From the second Apply Attention Control."),
                io.Image.Input("image_after", tooltip="The picture that was drawn with it."),
            ],
            outputs=[
                io.Image.Output("sheet", display_name="sheet", tooltip="Both pictures under their maps, side by side.")
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, targets, record_before, image_before, record_after, image_after) -> io.NodeOutput:
        pairs = []
        for record, image in ((record_before, image_before), (record_after, image_after)):
            run, _ = record.run_of(image, queue_entry())
            view = viewed(run, targets, image)
            pairs.append((image[0], view.maps[0], summary(view.seen[:1], run.strength)))
        sheet = before_and_after(pairs[0][:2], pairs[1][:2], view.names, view.colours)
        text = "\n".join((f"Before: {pairs[0][2]}", f"After: {pairs[1][2]}"))
        return io.NodeOutput(sheet, ui=with_text(text, ui.PreviewImage(sheet, cls=cls)))


class FidelityWordsAt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityWordsAt",
            display_name="Words at a Spot",
            category=CATEGORY,
            description="Lists the words of the prompt that the model attended to at a place of the picture: paint a "
            "mask there, or give a point. Tells what a strange thing in the picture comes from.",
            search_aliases=["daam", "attention words", "what is this", "token attribution"],
            inputs=[
                Record.Input("record", tooltip="From Apply Attention Control."),
                io.Image.Input("image", tooltip="The picture that was drawn, after VAE Decode."),
                io.Float.Input(
                    "x", default=0.5, min=0.0, max=1.0, step=0.01, tooltip="From the left edge (0) to the right (1)."
                ),
                io.Float.Input(
                    "y", default=0.5, min=0.0, max=1.0, step=0.01, tooltip="From the upper edge (0) to the lower (1)."
                ),
                io.Mask.Input("mask", optional=True, tooltip="The place, instead of a point: any mask of the picture."),
            ],
            outputs=[io.String.Output("words", display_name="words", tooltip="A line per word, the most first.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, record, image, x: float, y: float, mask=None) -> io.NodeOutput:
        run, _ = record.run_of(image, queue_entry())
        text = words_at(run, tuple(image.shape[1:3]), (x, y), mask)
        return io.NodeOutput(text, ui=with_text(text))


NODES = [FidelityViewMaps, FidelityCompareMaps, FidelityWordsAt]
