"""Finds and loads the files of the learned layout predictor in the host's model folders."""

import functools
from pathlib import Path
from pickle import UnpicklingError

import comfy.utils
import folder_paths
from safetensors import SafetensorError

from ...core.layout.learned import LearnedPredictor, load
from ..errors import HostError

FOLDER = "layout_predictors"
_CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors")
_VOCABULARY = ("vocab.json", "merges.txt")


def register_folder() -> None:
    """Lets the host know of models/layout_predictors, so that extra_model_paths.yaml may add other places."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def load_predictor() -> tuple[LearnedPredictor, object]:
    """The predictor and RoBERTa's tokenizer. Raises HostError that names the files that are missing, and where to put
    them.
    """
    register_folder()
    folders = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
    checkpoints = sorted(
        path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.suffix in _CHECKPOINTS
    )
    missing = (
        ["the predictor's checkpoint (.pth, from the paper's repository Diffusion-SpaceTime-Attn)"]
        if not checkpoints
        else []
    )
    home = max(folders, key=lambda folder: sum((folder / name).is_file() for name in _VOCABULARY))
    missing += [f"{name} (of RoBERTa-base)" for name in _VOCABULARY if not (home / name).is_file()]
    if missing:
        raise HostError(
            f"The learned layout predictor needs files that are not there: {', '.join(missing)}. "
            f"Put them into {home}, or choose the solver, which needs none."
        )
    return _loaded(checkpoints[0], home, checkpoints[0].stat().st_mtime)


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: Path, vocabulary: Path, changed: float):
    """Kept until the file changes: half a gigabyte takes a while to read."""
    import torch
    from transformers import RobertaTokenizerFast

    # The host runs nodes in inference mode, whose tensors could not be used outside it.
    with torch.inference_mode(False):
        model = load(_state(checkpoint))
    return model, RobertaTokenizerFast.from_pretrained(str(vocabulary))


def _state(checkpoint: Path) -> dict:
    """What the file holds. Raises HostError for one that did not arrive whole, or is something else."""
    try:
        return comfy.utils.load_torch_file(str(checkpoint), safe_load=True)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise HostError(
            f"The layout predictor's file {checkpoint} cannot be read ({type(error).__name__}). Download "
            "it again, or choose the solver, which needs none."
        ) from None
