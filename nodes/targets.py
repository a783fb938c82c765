"""From a prompt to the things it names."""

from comfy_api.latest import io

from ..host.known_conditioning import find_in_conditioning
from ..host.progress import with_text
from ..host.text import encode_with_targets
from .types import CATEGORY, Targets


class FidelityExtractTargets(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityExtractTargets",
            display_name="Extract Targets",
            category=CATEGORY,
            description="Encodes a prompt like CLIP Text Encode and finds the objects in it, with their colours and "
            "other attributes and "
            "where they stand to each other, so that a method can make the picture show them all.",
            search_aliases=["prompt objects", "token indices", "attend and excite words"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder of your model: CLIP, T5 or a language model, whatever ComfyUI loads for "
                    "it.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The positive prompt. Weights such as (cat:1.3), embeddings and long prompts work as "
                    "usual; language models (Flux.2, Qwen-Image, Z-Image) read brackets and numbers as text.",
                ),
                io.String.Input(
                    "words",
                    multiline=True,
                    optional=True,
                    default="",
                    placeholder="optional: black car, clock",
                    tooltip="Leave empty to have the objects found for you. Or name them yourself, separated by "
                    "commas, in words that stand in the prompt; "
                    "an entry may include its attributes, such as 'black car'. In the prompt itself, a weight of 1 "
                    "marks them: a (black car:1) and a (clock:1).",
                ),
            ],
            outputs=[
                io.Conditioning.Output(tooltip="The encoded prompt: connect it to the sampler's positive input."),
                Targets.Output(
                    "targets",
                    display_name="targets",
                    tooltip="The objects found: connect them to Apply Attention Control and View Attention Maps.",
                ),
                io.String.Output("summary", display_name="summary", tooltip="What was found, in words."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, clip, text: str, words: str = "") -> io.NodeOutput:
        conditioning, targets = encode_with_targets(clip, text, words)
        summary = targets.summary()
        return io.NodeOutput(conditioning, targets, summary, ui=with_text(targets.summary(positions=False)))


class FidelityTargetsInConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityTargetsInConditioning",
            display_name="Targets in Conditioning",
            category=CATEGORY,
            description="Finds the objects of a prompt in a conditioning that another node has encoded: other packs' "
            "prompt nodes, SDXL's with two texts, prompts in parts (BREAK). Where Extract Targets can encode it, "
            "use that.",
            search_aliases=["existing conditioning", "prompt control", "advanced clip text encode", "break"],
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="What the other node has encoded."),
                io.Clip.Input("clip", tooltip="The text encoder that it was encoded with."),
                io.String.Input(
                    "text",
                    multiline=True,
                    tooltip="The prompt that it was encoded from, word for word; of SDXL's two texts, one of them.",
                ),
                io.String.Input(
                    "words",
                    multiline=True,
                    optional=True,
                    default="",
                    placeholder="optional: black car, clock",
                    tooltip="As in Extract Targets: leave empty to have the objects found for you.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(tooltip="The same conditioning, with a mark by which it is known again."),
                Targets.Output(
                    "targets",
                    display_name="targets",
                    tooltip="The objects found: connect them to Apply Attention Control and View Attention Maps.",
                ),
                io.String.Output("summary", display_name="summary", tooltip="What was found, in words."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, conditioning, clip, text: str, words: str = "") -> io.NodeOutput:
        conditioning, targets = find_in_conditioning(clip, conditioning, text, words)
        summary = targets.summary()
        return io.NodeOutput(conditioning, targets, summary, ui=with_text(targets.summary(positions=False)))


NODES = [FidelityExtractTargets, FidelityTargetsInConditioning]
