"""What a picture is worth: read by the detector where shapes were asked for, by CLIP's similarities where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tinyscenes import detector as scene_detector
from tinyshapes import detector

from .cases import Case


def cost_in_quality(picture: np.ndarray, plain: np.ndarray) -> dict[str, float]:
    """Root mean square distance to the plain picture, and the colours' mean saturation (HSV) less the plain one's."""
    return {
        "distance": float(np.sqrt(((picture - plain) ** 2).mean())),
        "saturation": float(saturation(picture) - saturation(plain)),
    }


def saturation(picture: np.ndarray) -> float:
    """Mean of (max − min) / max over the pixels of [H, W, 3]."""
    high = picture.max(-1)
    return float(((high - picture.min(-1)) / np.maximum(high, 1e-6)).mean())


class ShapeJudge:
    """The detector of TinyShapes. Every figure is one picture's; success is all objects in their colours, where they
    belong.

    `relation` is 1 or 0 where the prompt says how its objects stand, else not a number.
    """

    figures = ("presence", "binding", "relation", "success", "extra", "residual")

    def __call__(self, picture: np.ndarray, case: Case, targets) -> dict[str, float]:
        found = detector.detect(picture)
        score = detector.score(found, list(case.wanted), [(0, case.relation, 1)] if case.relation else None)
        return _figures(found, score, score.relation if case.relation else float("nan"))


class SceneJudge:
    """The detector of TinyScenes, whose prompts say nothing of how objects stand."""

    figures = ShapeJudge.figures

    def __call__(self, picture: np.ndarray, case: Case, targets) -> dict[str, float]:
        found = scene_detector.detect(picture)
        return _figures(found, scene_detector.score(found, list(case.wanted)), float("nan"))


def _figures(found: list, score, relation: float) -> dict[str, float]:
    return {
        "presence": score.presence,
        "binding": score.binding,
        "relation": relation,
        "success": float(score.success),
        "extra": score.extra,
        "residual": float(np.mean([item.residual for item in found])) if found else 1.0,
    }


class ClipJudge:
    """Cosine similarity of picture and whole prompt, and of picture and "a photo of …", the least over the objects."""

    figures = ("full_prompt", "minimum_object")

    def __init__(self, scorer) -> None:
        """`scorer`: the pack's host.scoring.ClipScorer, which the node Score Fidelity uses too."""
        self.scorer = scorer

    @classmethod
    def of_file(cls, path: Path | None) -> ClipJudge:
        """From the file of a whole CLIP model. Raises FileNotFoundError, or ValueError if it lacks the text or the
        picture part.
        """
        import comfy.clip_vision
        import comfy.sd
        from prompt_fidelity.host.scoring import ClipScorer

        if path is None or not path.is_file():
            raise FileNotFoundError(
                "Pictures of a real checkpoint are scored by CLIP, which needs --clip-vision FILE: a whole CLIP model "
                "with its text "
                "and its picture part, such as model.safetensors of openai/clip-vit-large-patch14."
                + (f" {path} is not there." if path else "")
            )
        vision = comfy.clip_vision.load(str(path))
        if vision is None:
            raise ValueError(
                f"{path} is no whole CLIP model: it lacks the picture part, or is of a size that ComfyUI does not know."
            )
        return cls(ClipScorer(comfy.sd.load_clip([str(path)]), vision))

    def __call__(self, picture: np.ndarray, case: Case, targets) -> dict[str, float]:
        if not targets.objects:
            return dict.fromkeys(self.figures, float("nan"))
        found = self.scorer.score(torch.from_numpy(picture)[None], targets)
        return {"full_prompt": float(found.full[0]), "minimum_object": float(found.minimum[0])}
