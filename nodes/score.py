"""Figures for how well a picture fits its prompt."""

from comfy_api.latest import io, ui

from ..host.scoring import ClipScorer
from .types import CATEGORY, Targets, clip_inputs


class FidelityScore(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityScore",
            display_name="Score Fidelity",
            category=CATEGORY,
            description="Measures how well pictures fit their prompt, as the papers do: CLIP's similarity with "
            "the whole prompt, and with the object that fits worst. "
            "Compare the figures of pictures of one prompt; across prompts, or across CLIP models, they mean little.",
            search_aliases=["clip score", "clip similarity", "prompt adherence", "metric"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures, after VAE Decode."),
                Targets.Input("targets", tooltip="From Extract Targets: the prompt and its objects."),
                *clip_inputs(),
            ],
            outputs=[
                io.Float.Output(
                    "full_prompt",
                    display_name="full prompt",
                    tooltip="Cosine similarity with the whole prompt; the mean of a batch.",
                ),
                io.Float.Output(
                    "minimum_object",
                    display_name="minimum object",
                    tooltip="Cosine similarity with 'a photo of' the object that fits worst; the mean of a batch.",
                ),
                io.String.Output("report", display_name="report", tooltip="Every picture's figures, object by object."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image, targets, clip, clip_vision) -> io.NodeOutput:
        found = ClipScorer(clip, clip_vision).score(image, targets)
        text = found.report()
        return io.NodeOutput(float(found.full.mean()), float(found.minimum.mean()), text, ui=ui.PreviewText(text))


NODES = [FidelityScore]
