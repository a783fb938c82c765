"""Memory that a run has freed goes back to the system, as it does on a graphics card by the host's own doing."""

import ctypes
import functools
from collections.abc import Callable


def give_back_memory() -> None:
    """To be called when a run has ended.

    What a gradient pass keeps for backward comes and goes in thousands of blocks. The C library holds on to them when
    they are freed, in pieces that fit the next picture's only in part, so that a ComfyUI that draws all day with
    pictures of all sizes seems to grow: by some 20 MB a picture with the demo model, all of it free. Giving it back
    takes milliseconds. Only glibc has to be asked.
    """
    _trimmer()()


def _nothing() -> None:
    pass


@functools.cache
def _trimmer() -> Callable[[], object]:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return _nothing
    return functools.partial(trim, 0)
