"""Weights of Space-Time Attention that are found for one picture, and kept as text."""

from comfy_api.latest import io, ui

from ..core.search import learned_weights
from ..core.show.plot import epochs_plot
from ..host.optimise import SCHEDULERS, Sampling, optimise_space_time
from ..host.progress import progress_bar
from ..host.scoring import ClipScorer
from .types import CATEGORY, Layout, Method, Targets, clip_inputs


class FidelityOptimiseSpaceTime(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityOptimiseSpaceTime",
            display_name="Optimise Space-Time",
            category=CATEGORY,
            description="Finds the weights of Space-Time Attention for one picture: draws it several times from "
            "the same noise, lets CLIP look at the whole and at every "
            "object's place, and changes each object's weight at each step so that CLIP sees more of the prompt. "
            "Takes about four times as long per epoch as drawing "
            "the picture, in little more memory than one step with gradients.",
            search_aliases=["space-time attention", "clip guidance", "optimize weights"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="A Stable Diffusion 1.x, 2.x or SDXL model, before any Apply Attention Control."
                ),
                io.Conditioning.Input("positive", tooltip="From the Extract Targets node that the targets come from."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, as for the sampler."),
                Targets.Input("targets", tooltip="From Extract Targets."),
                Layout.Input(
                    "layout",
                    tooltip="Where the objects go: from Predict Layout, Layout from Boxes or Layout from Masks.",
                ),
                io.Vae.Input(
                    "vae", tooltip="Decodes the pictures that CLIP looks at. A small one (TAESD) saves much memory."
                ),
                *clip_inputs(),
                io.Latent.Input(
                    "latent",
                    tooltip="What the sampler will start from, for the size. The first of a batch is optimised for.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The seed of the picture: use the same in the sampler. For another seed the weights "
                    "are those of another picture.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=1000,
                    tooltip="Steps of the run, as in the sampler. Each has its own weight per object.",
                ),
                io.Float.Input(
                    "cfg", default=7.5, min=0.0, max=100.0, step=0.1, tooltip="Guidance, as in the sampler."
                ),
                io.Combo.Input(
                    "scheduler",
                    options=SCHEDULERS,
                    default="normal",
                    tooltip="As in the sampler, where euler draws the very picture that was optimised.",
                ),
                io.Int.Input(
                    "epochs",
                    default=learned_weights.EPOCHS,
                    min=1,
                    max=100,
                    tooltip="How often the weights are changed. Published: 3, and 20 in an earlier release.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=learned_weights.RATE,
                    min=0.001,
                    max=2.0,
                    step=0.001,
                    round=0.001,
                    tooltip="About how far a weight moves in one epoch. Published: 0.005, with which nothing is "
                    "seen to change, and 0.05 in an earlier release.",
                ),
                Method.Input(
                    "method",
                    optional=True,
                    tooltip="Space-Time Attention from Select Method, whose weights are the start. Without it: "
                    "its first preset.",
                ),
            ],
            outputs=[
                Method.Output(
                    "method",
                    display_name="method",
                    tooltip="Space-Time Attention with the best weights found: connect it to Apply Attention Control.",
                ),
                io.Image.Output(
                    "loss_plot",
                    display_name="loss plot",
                    tooltip="The loss of the whole prompt and of every object over the epochs.",
                ),
                io.String.Output(
                    "weights",
                    display_name="weights",
                    tooltip="The weights as text: paste it into Space-Time Weights to use them again without a search.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        targets,
        layout,
        vae,
        clip,
        clip_vision,
        latent,
        seed,
        steps,
        cfg,
        scheduler,
        epochs,
        learning_rate,
        method=None,
    ) -> io.NodeOutput:
        scorer, sampling = ClipScorer(clip, clip_vision), Sampling(seed, steps, cfg, scheduler)
        found, learning = optimise_space_time(
            model,
            positive,
            negative,
            targets,
            layout,
            method,
            vae,
            scorer,
            latent["samples"],
            sampling,
            epochs=epochs,
            rate=learning_rate,
            told=progress_bar(),
        )
        report = learning.report(found.names)
        lines = {name: [epoch.parts[name] for epoch in learning.epochs] for name in learning.best.parts}
        plot = epochs_plot(lines, "Space-Time Attention: 1 less CLIP's similarity")
        return io.NodeOutput(found, plot, learned_weights.to_text(found), ui=ui.PreviewText(report))


class FidelitySpaceTimeWeights(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelitySpaceTimeWeights",
            display_name="Space-Time Weights",
            category=CATEGORY,
            description="Space-Time Attention with weights that were optimised before: paste the text that "
            "Optimise Space-Time gave, and the workflow keeps it.",
            search_aliases=["space-time attention", "load weights"],
            inputs=[
                io.String.Input(
                    "weights",
                    multiline=True,
                    default="",
                    placeholder='{"space_time": {}, "objects": ["cat", "dog"], "weights": [[0.5, 0.4], [0.5, 0.6]]}',
                    tooltip="The text from the weights output of Optimise Space-Time. It holds the method's "
                    "settings too.",
                ),
            ],
            outputs=[
                Method.Output(
                    "method",
                    display_name="method",
                    tooltip="Space-Time Attention with these weights: connect it to Apply Attention Control.",
                )
            ],
        )

    @classmethod
    def execute(cls, weights: str) -> io.NodeOutput:
        return io.NodeOutput(learned_weights.from_text(weights))


NODES = [FidelityOptimiseSpaceTime, FidelitySpaceTimeWeights]
