"""Where the objects go: predicted, drawn on the host's canvas, or given as masks."""

from comfy_api.latest import io, ui

from ..core import layout as layouts
from ..core.layout.preview import preview
from ..host.layout.predictors import PREDICTORS, predict
from ..host.progress import with_text
from .types import CATEGORY, Elements, Layout, Targets
from .widgets import settings_from, widgets

_TARGETS = Targets.Input("targets", tooltip="From Extract Targets.")


def _size(of: str) -> list[io.Input]:
    """The inputs `width` and `height`, in pixels."""
    return [
        io.Int.Input(side, default=512, min=16, max=16384, step=8, tooltip=f"{side.capitalize()} of {of} in pixels.")
        for side in ("width", "height")
    ]


def _behind(what: str) -> io.Input:
    return io.Image.Input("image", optional=True, tooltip=f"A picture to show behind the {what}.")


def _outputs(what: str) -> list[io.Output]:
    """The layout, and a picture of it."""
    return [
        Layout.Output("layout", display_name="layout", tooltip="Connect it to Apply Attention Control."),
        io.Image.Output("preview", display_name="preview", tooltip=f"The {what} with their names and relations."),
    ]


def _shown(cls, layout, image=None):
    """The preview, and what the page shows on the node: the preview too, and words."""
    picture = preview(layout, None if image is None else image[0])
    return picture, with_text(layout.summary(), ui.PreviewImage(picture, cls=cls))


class FidelityPredictLayout(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityPredictLayout",
            display_name="Predict Layout",
            category=CATEGORY,
            description="Decides where in the picture each object of the prompt goes: from the relations that the "
            "prompt states, "
            "from a network that learned it, or from where the model already looks for it.",
            search_aliases=["composition", "bounding boxes", "regions", "left of"],
            inputs=[
                _TARGETS,
                *_size("the picture"),
                io.DynamicCombo.Input(
                    "predictor",
                    options=[io.DynamicCombo.Option(name, widgets(settings)) for name, settings in PREDICTORS.items()],
                    tooltip="solver: from the prompt's relations alone, needs nothing else. learned: the published "
                    "predictor, whose files you download. "
                    "attention: where the model looks in its first steps; needs the model and the conditioning.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed gives the same layout.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="Only for the attention predictor: the model that will draw the picture.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="Only for the attention predictor: from the same Extract Targets node.",
                ),
            ],
            outputs=[
                *_outputs("boxes"),
                io.BoundingBox.Output(
                    "bboxes", display_name="bboxes", tooltip="The boxes in pixels, for the host's own nodes."
                ),
                Elements.Output(
                    "elements",
                    display_name="elements",
                    tooltip="For the bboxes input of Create Bounding Boxes, to move the boxes by hand.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, targets, width: int, height: int, predictor: dict, seed: int, model=None, conditioning=None
    ) -> io.NodeOutput:
        settings = settings_from(PREDICTORS[predictor["predictor"]], predictor)
        layout = predict(
            predictor["predictor"], settings, targets, width, height, seed, model=model, conditioning=conditioning
        )
        picture, shown = _shown(cls, layout)
        return io.NodeOutput(layout, picture, layouts.to_boxes(layout), layouts.to_elements(layout), ui=shown)


class FidelityLayoutFromBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityLayoutFromBoxes",
            display_name="Layout from Boxes",
            category=CATEGORY,
            description="Takes boxes from the host's Create Bounding Boxes canvas, or written as JSON, as the places "
            "of the prompt's objects. "
            "A box with a description goes to the object of that name, the others go to the objects in order.",
            search_aliases=["bounding boxes", "regions", "create bounding boxes"],
            inputs=[
                _TARGETS,
                *_size("the canvas and of the picture"),
                io.MultiType.Input(
                    "boxes",
                    [Elements, io.BoundingBox],
                    optional=True,
                    tooltip="The elements output of Create Bounding Boxes (with names), or any bounding boxes in "
                    "pixels.",
                ),
                io.String.Input(
                    "json",
                    multiline=True,
                    optional=True,
                    default="",
                    placeholder='[{"bbox": [top, left, bottom, right], "desc": "cat"}]',
                    tooltip="The boxes as text, used when nothing is connected to boxes. Edges of bbox run from 0 to "
                    "1000; x, y, width and height are pixels.",
                ),
                _behind("boxes"),
            ],
            outputs=_outputs("boxes"),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, targets, width: int, height: int, boxes=None, json: str = "", image=None) -> io.NodeOutput:
        layout = layouts.from_boxes(json if boxes is None else boxes, targets, width, height)
        picture, shown = _shown(cls, layout, image)
        return io.NodeOutput(layout, picture, ui=shown)


class FidelityLayoutFromMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityLayoutFromMasks",
            display_name="Layout from Masks",
            category=CATEGORY,
            description="Takes painted masks as the places of the prompt's objects: one mask per object, hard or soft.",
            search_aliases=["regions", "mask regions"],
            inputs=[
                _TARGETS,
                io.Mask.Input("masks", tooltip="One mask per object, as a batch."),
                io.String.Input(
                    "objects",
                    optional=True,
                    default="",
                    placeholder="optional: black car, clock",
                    tooltip="The object of each mask, separated by commas. Empty: the masks go to the objects in the "
                    "prompt's order.",
                ),
                _behind("masks"),
            ],
            outputs=_outputs("masks"),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, targets, masks, objects: str = "", image=None) -> io.NodeOutput:
        layout = layouts.from_masks(masks, targets, objects)
        picture, shown = _shown(cls, layout, image)
        return io.NodeOutput(layout, picture, ui=shown)


NODES = [FidelityPredictLayout, FidelityLayoutFromBoxes, FidelityLayoutFromMasks]
