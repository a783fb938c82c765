"""What goes wrong at the host's side, in the artist's language."""

from ..core.errors import InPlainWords


class HostError(InPlainWords):
    """A model, sampler or wiring that a method cannot work with; the message says which and what to do."""
