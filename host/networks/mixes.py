"""What the mixtures of attention outputs of all kinds of network have in common."""

from ...core.control.outputs import OutputMixer
from ...core.copies import CopiesToItself

# An instance under this key of the run's transformer options: the host copies dicts and lists there, but not objects.
KEY = "prompt_fidelity_mixes"

UNKNOWN_PLACE = (
    "Another node{} shows the network parts of the picture without it being known which, so the objects were not put "
    "into their regions there."
)


class Mixers(CopiesToItself):
    """All mixers of one run."""

    def __init__(self) -> None:
        self.all: list[OutputMixer] = []

    @property
    def active(self) -> bool:
        return any(mixer.active for mixer in self.all)


def is_mixed_by(model_options: dict, mixer: OutputMixer) -> None:
    """Notes in the run's options that `mixer` is at work in it."""
    options = model_options.setdefault("transformer_options", {})
    options.setdefault(KEY, Mixers()).all.append(mixer)
