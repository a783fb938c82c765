"""What goes wrong for the artist, in the artist's words."""


class InPlainWords(ValueError):
    """An error whose message is all that the artist needs: which word or model, and what to do.

    The host shows an error's class before its message, with the path of the module unless the class is built in. A path
    tells the artist nothing, so these say that they are; pickled, they are plain ValueErrors.
    """

    def __init_subclass__(cls) -> None:
        cls.__module__ = "builtins"

    def __reduce__(self):
        return ValueError, self.args


class MethodError(InPlainWords):
    """A method cannot run on this prompt or model. The message says which word or model, and what to do."""
