"""What each of the host's samplers makes of a latent that is moved at the start of a step.

Measured on the host's own solvers with a constant model (tests/host/test_samplers.py repeats it): a solver that
carries its x from step to step honours the move; one that predicts from its history of outputs distorts or drops it.
Which solver a SAMPLER object is: solvers.py.
"""

from dataclasses import dataclass
from typing import Literal

from .solvers import solvers_of

Support = Literal["exact", "approximate", "refused"]
Carry = Literal["latent", "output"]


@dataclass(frozen=True)
class SamplerFacts:
    """One step is `calls` network calls, the first of them at the solver's own latent; with `tapers` the last steps
    make one call fewer each. `carry` says what takes a move along: the solver's own latent, changed in place, or only
    the model's output at the moved latent (for solvers that would lose or negate a change in place).
    """

    support: Support
    calls: int = 1
    carry: Carry = "latent"
    tapers: bool = False
    note: str = ""


_EXACT = SamplerFacts("exact")
_TWO_CALLS = SamplerFacts("exact", calls=2)
_OUTPUT = SamplerFacts(
    "approximate",
    carry="output",
    note="it does not keep a moved latent, so only the model's answer to the move is used",
)
# With some schedules these turn a change in place around (ipndm on "normal" by four times its size).
_HISTORY = SamplerFacts(
    "approximate",
    carry="output",
    note="it steps by the outputs of earlier steps, so only the model's answer to the move is used",
)

# Keyed by the host's sampler names (KSampler's list). "_gpu" variants are the same solver with noise made on the GPU.
SAMPLERS: dict[str, SamplerFacts] = {
    "euler": _EXACT,
    "euler_cfg_pp": _EXACT,
    "euler_ancestral": _EXACT,
    "euler_ancestral_cfg_pp": _EXACT,
    "ddim": _EXACT,
    "ddpm": _EXACT,
    "dpmpp_2m": _EXACT,
    "dpmpp_2m_cfg_pp": _EXACT,
    "dpmpp_2m_sde": _EXACT,
    "dpmpp_2m_sde_gpu": _EXACT,
    "dpmpp_2m_sde_heun": _EXACT,
    "dpmpp_2m_sde_heun_gpu": _EXACT,
    "dpmpp_3m_sde": _EXACT,
    "dpmpp_3m_sde_gpu": _EXACT,
    "res_multistep": _EXACT,
    "res_multistep_cfg_pp": _EXACT,
    "res_multistep_ancestral": _EXACT,
    "res_multistep_ancestral_cfg_pp": _EXACT,
    "er_sde": _EXACT,
    "heun": _TWO_CALLS,
    "heunpp2": SamplerFacts("exact", calls=3, tapers=True),
    "exp_heun_2_x0": _TWO_CALLS,
    "exp_heun_2_x0_sde": _TWO_CALLS,
    "dpm_2": _TWO_CALLS,
    "dpm_2_ancestral": _TWO_CALLS,
    "dpmpp_2s_ancestral": _TWO_CALLS,
    "dpmpp_2s_ancestral_cfg_pp": _TWO_CALLS,
    "dpmpp_sde": _TWO_CALLS,
    "dpmpp_sde_gpu": _TWO_CALLS,
    "seeds_2": _TWO_CALLS,
    "seeds_3": SamplerFacts("exact", calls=3),
    "lms": _HISTORY,
    "deis": _HISTORY,
    "ipndm": _HISTORY,
    "ipndm_v": _HISTORY,
    "gradient_estimation": _HISTORY,
    "gradient_estimation_cfg_pp": _HISTORY,
    "dpm_fast": SamplerFacts(
        "approximate", calls=3, note="it takes a few large steps of its own, so there are few places to act"
    ),
    "lcm": _OUTPUT,
    "sa_solver": _OUTPUT,
    # Its first call at a new noise level looks at a prediction that is thrown away; the state is in the call after it,
    # so counting from the very first call, every second one is a state.
    "sa_solver_pece": _TWO_CALLS,
    "uni_pc": _OUTPUT,
    "uni_pc_bh2": _OUTPUT,
    "dpm_adaptive": SamplerFacts(
        "refused",
        note="it chooses its steps itself and throws some away after a look, so a change at the start of a step has no "
        "meaning",
    ),
}
UNKNOWN = SamplerFacts(
    "approximate", note="it is not one of ComfyUI's own, so how it treats a moved latent is not known"
)


def facts_of(sampler) -> SamplerFacts:
    """The facts of the host's solver that `sampler` is, or that it calls under another name."""
    solvers = solvers_of(sampler)
    refused = [SAMPLERS[name] for name in solvers if SAMPLERS[name].support == "refused"]
    if refused:
        return refused[0]
    return SAMPLERS[solvers[0]] if len(solvers) == 1 else UNKNOWN
