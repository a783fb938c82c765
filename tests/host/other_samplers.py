"""Small stand-ins for samplers of other packs, each with the habit that makes its steps hard to tell apart."""

import functools

import comfy.k_diffusion.sampling as host_solvers
import comfy.samplers
import torch
from comfy.samplers import KSAMPLER
from hostkit import encoded, noise


def draw(model, sampler, steps: int = 8, scheduler: str = "normal", size=(1, 4, 16, 16), mask=None) -> torch.Tensor:
    """The latent that the host draws with a SAMPLER object."""
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(encoded("sd1")[0], encoded("sd1", "")[0])
        guider.set_cfg(5.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
        start = noise(*size, seed=3)
        return guider.sample(
            start, torch.zeros_like(start), sampler, sigmas, denoise_mask=mask, seed=3, disable_pbar=True
        )


def report(callback, i, x, sigma, sigma_hat, denoised) -> None:
    if callback is not None:
        callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma_hat, "denoised": denoised})


# --- wrappers: the solver is the host's, what the network is told of the noise is not the solver's level


def lying(model, x, sigmas, *, wrapped_sampler, factor=0.95, start=1, **kwargs):
    """Lying Sigma, Detail Daemon: the network is told less noise than there is, from step `start` on."""

    def told(x, sigma, **extra_args):
        return model(x, sigma * factor if float(sigma.max()) <= float(sigmas[start]) else sigma, **extra_args)

    for name in ("inner_model", "sigmas"):
        if hasattr(model, name):
            setattr(told, name, getattr(model, name))
    return wrapped_sampler.sampler_function(told, x, sigmas, **kwargs, **wrapped_sampler.extra_options)


def lying_around(sampler, **options) -> KSAMPLER:
    return KSAMPLER(lying, {"wrapped_sampler": sampler, **options})


def partial_around(sampler, **options) -> KSAMPLER:
    return KSAMPLER(functools.partial(lying, wrapped_sampler=sampler, **options))


def closure_around(sampler, factor=0.95) -> KSAMPLER:
    """The same, with the sampler in a closure."""

    def sample_quietly(model, x, sigmas, **kwargs):
        def told(x, sigma, **extra_args):
            return model(x, sigma * factor, **extra_args)

        told.inner_model = model.inner_model
        return sampler.sampler_function(told, x, sigmas, **kwargs)

    return KSAMPLER(sample_quietly)


def one_step_at_a_time(model, x, sigmas, *, first, second, extra_args=None, callback=None, disable=None):
    """Two samplers by turns, a step each."""
    for i in range(len(sigmas) - 1):
        solver = (first, second)[i % 2]
        x = solver.sampler_function(
            model, x, sigmas[i : i + 2], extra_args=extra_args, callback=callback, disable=disable
        )
    return x


# --- solvers of their own


def churned(model, x, sigmas, extra_args=None, callback=None, disable=None, factors=(2**0.5,), small=(), told=True):
    """Euler Dy: noise is added before every call, so the model is called above the schedule; in some steps once more,
    at half the size.
    """
    for i in range(len(sigmas) - 1):
        sigma_hat = sigmas[i] * factors[i % len(factors)]
        if sigma_hat > sigmas[i]:
            x = x - torch.randn_like(x) * (sigma_hat**2 - sigmas[i] ** 2) ** 0.5
        denoised = model(x, sigma_hat * x.new_ones(x.shape[0]), **extra_args)
        d = (x - denoised) / sigma_hat
        if i in small and sigmas[i + 1] > 0:
            part = x[..., ::2, ::2].contiguous()
            model.latent_image, kept = model.latent_image[..., ::2, ::2], model.latent_image
            less = dict(extra_args)
            if less.get("denoise_mask") is not None:
                less["denoise_mask"] = less["denoise_mask"][..., ::2, ::2]
                model.noise, kept_noise = model.noise[..., ::2, ::2], model.noise
            part = part + (part - model(part, sigma_hat * x.new_ones(x.shape[0]), **less)) / sigma_hat * (
                sigmas[i + 1] - sigma_hat
            )
            model.latent_image = kept
            if less.get("denoise_mask") is not None:
                model.noise = kept_noise
            x = x.clone()
            x[..., ::2, ::2] = part
        report(callback if told else None, i, x, sigmas[i], sigma_hat, denoised)
        x = x + d * (sigmas[i + 1] - sigma_hat)
    return x


def refined(model, x, sigmas, extra_args=None, callback=None, disable=None, ita=0.25, c2=0.5):
    """RES: noise is added, then two calls a step, of which it reports after the second; the last step is a single
    call.
    """
    for i in range(len(sigmas) - 2):
        sigma_hat = sigmas[i] * (1 + ita)
        noisy = x + torch.randn_like(x) * (sigma_hat**2 - sigmas[i] ** 2) ** 0.5
        ones = x.new_ones(x.shape[0])
        denoised = model(noisy, sigma_hat * ones, **extra_args)
        middle = sigma_hat ** (1 - c2) * sigmas[i + 1] ** c2
        between = denoised + (noisy - denoised) / sigma_hat * middle
        second = model(between, middle * ones, **extra_args)
        report(callback, i, x, sigmas[i], sigma_hat, denoised)
        x = second + (noisy - second) / sigma_hat * sigmas[i + 1]
    return model(x, sigmas[-2] * x.new_ones(x.shape[0]), **extra_args)


def two_calls(model, x, sigmas, extra_args=None, callback=None, disable=None, share=2 / 3, told=True):
    """A second order solver on the schedule, its second call a part of the way to the next level."""
    for i in range(len(sigmas) - 1):
        ones = x.new_ones(x.shape[0])
        denoised = model(x, sigmas[i] * ones, **extra_args)
        report(callback if told else None, i, x, sigmas[i], sigmas[i], denoised)
        if sigmas[i + 1] == 0:
            return denoised
        middle = sigmas[i] ** (1 - share) * sigmas[i + 1] ** share
        second = model(denoised + (x - denoised) / sigmas[i] * middle, middle * ones, **extra_args)
        x = second + (x - second) / sigmas[i] * sigmas[i + 1]
    return x


def taylor(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """TTM: a plain call, and one inside torch.func.jvp at the same level."""
    for i in range(len(sigmas) - 1):
        ones = x.new_ones(x.shape[0])

        def at(x, sigma, ones=ones):
            return model(x, sigma * ones, **extra_args)

        denoised = at(x, sigmas[i])
        report(callback, i, x, sigmas[i], sigmas[i], denoised)
        d = (x - denoised) / sigmas[i]
        _, slope = torch.func.jvp(at, (x, sigmas[i]), (d * -sigmas[i], -sigmas[i]))
        x = denoised + d * sigmas[i + 1] + 0.1 * slope
    return x


def inside_vmap(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Euler whose calls are all made under torch.vmap."""
    for i in range(len(sigmas) - 1):
        ones = x.new_ones(x.shape[0])
        level = sigmas[i] * ones
        denoised = torch.vmap(lambda x, level=level: model(x, level, **extra_args))(x[None])[0]
        report(callback, i, x, sigmas[i], sigmas[i], denoised)
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def own_clock(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A solver in which no level of the schedule can be found again."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, 0.01 * sigmas[i] * x.new_ones(x.shape[0]), **extra_args)
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def sample_euler(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Under a name of the host's: two calls a step, where the host's makes one."""
    return two_calls(model, x, sigmas, extra_args, callback, disable)


def in_a_lambda(name: str) -> KSAMPLER:
    """smZNodes: the sampler's function is a lambda that calls what it was."""
    sampler = comfy.samplers.sampler_object(name)
    sampler._sampler_function = sampler.sampler_function
    sampler.sampler_function = lambda *a, **kw: sampler._sampler_function(*a, **kw)
    return sampler


def by_name_in_a_lambda() -> KSAMPLER:
    return KSAMPLER(
        lambda model, x, sigmas, **kw: host_solvers.sample_dpm_adaptive(model, x, sigmas[-2], sigmas[0], **kw)
    )
