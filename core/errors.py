"""What goes wrong for the artist, in the artist's words."""


class MethodError(ValueError):
    """A method cannot run on this prompt or model. The message says which word or model, and what to do."""
