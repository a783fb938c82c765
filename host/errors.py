"""What goes wrong at the host's side, in the artist's language."""


class HostError(ValueError):
    """A model, sampler or wiring that a method cannot work with; the message says which and what to do."""
