"""The predictors of a layout behind one interface."""

from ...core.layout import Layout, around, solve
from ...core.layout.from_attention import from_attention
from ...core.layout.learned import predict as learned_centres
from ...core.layout.settings import AttentionSettings, BoxSettings, LearnedSettings
from ...core.prompt.targets import Targets
from .early_attention import early_maps
from .files import load_predictor

PREDICTORS: dict[str, type[BoxSettings]] = {
    "solver": BoxSettings,
    "learned": LearnedSettings,
    "attention": AttentionSettings,
}


def predict(
    name: str,
    settings: BoxSettings,
    targets: Targets,
    width: int,
    height: int,
    seed: int,
    *,
    model=None,
    conditioning=None,
) -> Layout:
    """A layout by the predictor `name`. Raises HostError or MethodError, in the artist's words, for what it lacks."""
    return _PREDICT[name](settings, targets, width, height, seed, model, conditioning)


def _solver(settings, targets, width, height, seed, model, conditioning) -> Layout:
    return solve(targets, width, height, settings.with_seed(seed))


def _learned(settings, targets, width, height, seed, model, conditioning) -> Layout:
    if not targets.objects:
        return Layout((), width, height)
    centres = learned_centres(*load_predictor(), targets, seed if settings.sample else None)
    return around(centres.numpy(), targets, width, height, settings.with_seed(seed))


def _attention(settings, targets, width, height, seed, model, conditioning) -> Layout:
    if not targets.objects:
        return Layout((), width, height)
    maps = early_maps(model, conditioning, targets, width, height, settings.steps, seed)
    return from_attention(maps, targets, width, height, settings.with_seed(seed))


_PREDICT = {"solver": _solver, "learned": _learned, "attention": _attention}
