"""How much is kept between one picture and the next: every cache whose keys come from the artist is bounded here.

A ComfyUI runs for weeks. What grows with every new prompt, size or setting would grow without end; what is computed
once for all (tables, the tagger) needs no bound and is no business of this file. Nothing of a run is kept at all.
"""

from functools import lru_cache

# Words of prompts, of a few dozen bytes each.
by_word = lru_cache(maxsize=4096)
# Sizes and settings of pictures: what is computed for one of them may be as large as a map.
by_size = lru_cache(maxsize=16)
