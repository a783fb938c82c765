"""Stand-ins for what other packs do to the rows, tokens and pixels of a network call: a few lines each, our own words.

Each takes a model and gives a patched clone of it, as the packs' nodes do.
"""

import itertools

import comfy.context_windows
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_model_downscale import PatchModelAddDownscale


def deep_shrink(model, end=0.6, factor=2.0, block=3):
    """The host's own node: the network's inside is smaller for the first part of the run."""
    return PatchModelAddDownscale.execute(model, block, factor, 0.0, end, True, "bicubic", "bicubic").result[0]


def windows(model, length, overlap, dim, schedule=comfy.context_windows.ContextSchedules.STATIC_STANDARD, loop=False):
    """The host's own context windows, over the batch (dim 0), the height (2) or the width (3)."""
    return ContextWindowsManualNode.execute(
        model, length, overlap, schedule, 1, loop, comfy.context_windows.ContextFuseMethods.FLAT, dim, False
    ).result[0]


def tiles(model, side, stride=None, together=1, roll=0):
    """Tiles of `side` latent pixels, `together` of them side by side in one call, as TiledDiffusion runs them."""

    def tiled(apply_model, args):
        x, c = torch.roll(args["input"], roll, -1), args["c"]
        corners = list(itertools.product(*(_starts(size, side, stride or side) for size in x.shape[-2:])))
        out, count = torch.zeros_like(x), torch.zeros_like(x)
        for first in range(0, len(corners), together):
            group = corners[first : first + together]
            parts = torch.cat([x[..., y : y + side, z : z + side] for y, z in group])
            own = {
                name: torch.cat([value] * len(group)) if isinstance(value, torch.Tensor) else value
                for name, value in c.items()
            }
            answers = apply_model(parts, torch.cat([args["timestep"]] * len(group)), **own).chunk(len(group))
            for (y, z), answer in zip(group, answers):
                out[..., y : y + side, z : z + side] += answer
                count[..., y : y + side, z : z + side] += 1
        return torch.roll(out / count, -roll, -1)

    patched = model.clone()
    patched.set_model_unet_function_wrapper(tiled)
    return patched


def _starts(size, side, stride):
    return sorted({min(start, size - side) for start in range(0, size, stride)})


class TilesWithoutGradients:
    """Tiles of `side` latent pixels by an object that keeps its canvas and runs in inference mode, as TiledDiffusion's
    do.
    """

    def __init__(self, side):
        self.side, self.canvas = side, None

    @torch.inference_mode()
    def __call__(self, apply_model, args):
        x, side = args["input"], self.side
        if self.canvas is None or self.canvas.shape != x.shape:
            self.canvas = torch.zeros_like(x)
        self.canvas.zero_()
        for y, z in itertools.product(*(range(0, size, side) for size in x.shape[-2:])):
            part = torch.cat([x[..., y : y + side, z : z + side]])
            self.canvas[..., y : y + side, z : z + side] += apply_model(part, args["timestep"], **args["c"])
        return self.canvas * 1.0


def tiles_without_gradients(model, side):
    patched = model.clone()
    patched.set_model_unet_function_wrapper(TilesWithoutGradients(side))
    return patched


def blurred_tiles(model, side):
    """Tiles whose numbers are changed on the way in: nobody can tell what they show."""

    def tiled(apply_model, args):
        x, out = args["input"], torch.zeros_like(args["input"])
        for y, z in itertools.product(*(range(0, size, side) for size in x.shape[-2:])):
            part = x[..., y : y + side, z : z + side] * 0.99
            out[..., y : y + side, z : z + side] = apply_model(part, args["timestep"], **args["c"])
        return out

    patched = model.clone()
    patched.set_model_unet_function_wrapper(tiled)
    return patched


def sliding_window_guidance(model, side):
    """After each step's own pass, the prompt is run once more on overlapping windows."""

    def guided(args):
        x, summed, count = args["input"], torch.zeros_like(args["input"]), torch.zeros_like(args["input"])
        for y, z in itertools.product(*(_starts(size, side, side // 2) for size in x.shape[-2:])):
            where = (..., slice(y, y + side), slice(z, z + side))
            options = args["model_options"]
            summed[where] += comfy.samplers.calc_cond_batch(
                args["model"], [args["cond"]], x[where], args["sigma"], options
            )[0]
            count[where] += 1
        return args["denoised"] + 0.5 * (args["cond_denoised"] - summed / count)

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(guided)
    return patched


def attention_couple(model, region, mask, says_whose=True, strength=1.0):
    """A second prompt [1, tokens, C] where `mask` [H, W] is 1: its rows are put behind those of the positive prompt
    going into each cross-attention, and taken together again behind it. `says_whose`: names the rows' prompts.
    """
    seen = {}

    def enter(n, context, value, options):
        kinds = options["cond_or_uncond"]
        rows, texts, couple = [], [], []
        for kind, n_part, text in zip(kinds, n.chunk(len(kinds)), context.chunk(len(kinds))):
            rows.append(n_part)
            texts.append(text)
            couple.append(kind)
            if kind == 0:
                rows.append(n_part)
                texts.append(region.to(text).expand(text.shape[0], -1, -1) * strength)
                couple.append(kind)
        longest = max(text.shape[1] for text in texts)
        texts = torch.cat([text.repeat(1, longest // text.shape[1], 1) for text in texts])
        seen["couple"] = couple
        if says_whose:
            options["cond_or_uncond_couple"] = couple
        return torch.cat(rows), texts, texts

    def leave(out, options):
        h, w = options["activations_shape"][-2:]
        here = (
            torch.nn.functional.interpolate(mask[None, None], (h, w), mode="nearest").flatten()[None, :, None].to(out)
        )
        parts, outs = iter(out.chunk(len(seen["couple"]))), []
        for kind in options["cond_or_uncond"]:
            own = next(parts)
            outs.append(own * (1 - here) + next(parts) * here if kind == 0 else own)
        return torch.cat(outs)

    patched = model.clone()
    patched.set_model_attn2_patch(enter)
    patched.set_model_attn2_output_patch(leave)
    return patched


def negpip(model, conditioning):
    """(model, conditioning): every token twice, once for the keys and once for the values, as CLIP NegPip encodes."""

    def halved(n, context, value, options):
        return n, context[:, 0::2], value[:, 1::2]

    patched = model.clone()
    patched.set_model_attn2_patch(halved)
    return patched, [[text.repeat_interleave(2, dim=1), dict(more)] for text, more in conditioning]


def fewer_tokens(model):
    """The last token is left out of every cross-attention: no whole number of copies of any prompt."""
    patched = model.clone()
    patched.set_model_attn2_patch(lambda n, context, value, options: (n, context[:, :-1], value[:, :-1]))
    return patched


def enlarging(sampler_steps=3):
    """A solver that doubles its latent half way, as LCMUpscale does."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
            x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
            if i + 1 == sampler_steps:
                x = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        return x

    return sample


def spied(model, note):
    """`note(x, options)` at every call of the network."""

    def wrapper(executor, x, t, c_concat=None, c_crossattn=None, control=None, options=None, **more):
        note(x, options)
        return executor(x, t, c_concat, c_crossattn, control, options, **more)

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", wrapper)
    return patched
