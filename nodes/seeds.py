"""Seeds that promise a picture of the whole prompt, picked before any of them is finished."""

from comfy_api.latest import io, ui

from ..core.search.seeds import ranked, seeds_from, summary
from ..core.show.render import side_by_side
from ..host.progress import progress_bar, with_text
from ..host.seeds import SAMPLERS, SCHEDULERS, FirstPart, decoder, look_at_seeds
from .types import CATEGORY, Targets

_A_ROW = 4  # pictures of the contact sheet side by side


class FidelityPickSeeds(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FidelityPickSeeds",
            display_name="Pick Seeds",
            category=CATEGORY,
            description="Draws the first part of the run for several seeds, looks at the model's attention to every "
            "object of the prompt, and gives the seed that promises to show them all. Connect seed to KSampler, with "
            "the same settings: it draws that picture.",
            search_aliases=["best seed", "seed search", "seed selection", "farsight"],
            inputs=[
                io.Model.Input("model", tooltip="The model that the sampler will use."),
                io.Conditioning.Input("positive", tooltip="From the Extract Targets node that the targets come from."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, as for the sampler."),
                Targets.Input("targets", tooltip="From Extract Targets."),
                io.Latent.Input(
                    "latent", tooltip="What the sampler will start from. Of a batch, the first picture is looked at."
                ),
                io.Int.Input(
                    "first_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The first of the seeds that are looked at; the others follow it.",
                ),
                io.Int.Input("count", default=8, min=1, max=64, tooltip="How many seeds are looked at."),
                io.Float.Input(
                    "share",
                    default=0.2,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the run is drawn for each seed. 8 seeds at 0.2 take the time of 1.6 pictures.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="As in the sampler."),
                io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, tooltip="As in the sampler."),
                io.Combo.Input("sampler_name", options=SAMPLERS, tooltip="As in the sampler."),
                io.Combo.Input("scheduler", options=SCHEDULERS, tooltip="As in the sampler."),
                io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01, tooltip="As in the sampler."),
                io.Int.Input(
                    "keep",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many of the best seeds the output seeds holds: a sampler draws one picture of each.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes the early pictures for the contact sheet; without it their colours are rough.",
                ),
                io.Int.Input(
                    "at_once",
                    default=1,
                    min=1,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip="How many seeds go through the network together: faster, where there is memory for a "
                    "batch of so many pictures. Samplers that add noise at every step take one at a time.",
                ),
            ],
            outputs=[
                io.Int.Output("seed", display_name="seed", tooltip="The best seed: connect it to the sampler's seed."),
                io.Int.Output(
                    "seeds",
                    display_name="seeds",
                    is_output_list=True,
                    tooltip="The best seeds, best first: connected to a sampler's seed, it draws a picture of each.",
                ),
                io.String.Output("scores", display_name="scores", tooltip="Every seed's loss, best first."),
                io.Image.Output(
                    "contact_sheet",
                    display_name="contact sheet",
                    tooltip="What each seed has begun to draw, best first.",
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
        latent,
        first_seed,
        count,
        share,
        steps,
        cfg,
        sampler_name,
        scheduler,
        denoise,
        keep,
        vae=None,
        at_once=1,
    ) -> io.NodeOutput:
        part = FirstPart(steps, cfg, sampler_name, scheduler, denoise, share, at_once)
        decode = decoder(vae, model.get_model_object("latent_format"))
        seeds = seeds_from(first_seed, count)
        early = look_at_seeds(model, positive, negative, targets, latent, seeds, part, decode, progress_bar())
        best_first = ranked(seeds, [each.signs for each in early])
        scores = summary(best_first)
        pictures = {each.seed: each.picture for each in early}
        shown = [(f"{i}. seed {one.seed}", pictures[one.seed]) for i, one in enumerate(best_first, start=1)]
        sheet = side_by_side([shown[i : i + _A_ROW] for i in range(0, len(shown), _A_ROW)])
        best = [one.seed for one in best_first[:keep]]
        return io.NodeOutput(best[0], best, scores, sheet, ui=with_text(scores, ui.PreviewImage(sheet, cls=cls)))


NODES = [FidelityPickSeeds]
