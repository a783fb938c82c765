"""Closed word lists: what a part-of-speech tag cannot say about an English word in a picture's description.

A noun is an object unless it is listed here as something that is not drawn as a thing of its own. The lists are
general knowledge about English, both spellings where they differ.
"""

from .beings import LANDMARKS, PERSONS, is_agent, is_person
from .forms import is_plural, progressive, singular
from .functions import (
    AUXILIARIES,
    ENGLISH,
    FOREIGN,
    IN_NAMES,
    NEGATORS,
    NO_NEGATION,
    NUMERALS,
    PRONOUNS,
    SUBORDINATORS,
)
from .looks import (
    COLOUR_NOUNS,
    COLOURS,
    FRUITS,
    MATERIALS,
    NOT_ATTRIBUTES,
    OTHERNESS,
    SHADE_NOUNS,
    SHADES,
    SIDES,
)
from .names import CONTAINERS, DEPICTING, DEPICTIONS, MEDIA, MEDIA_OF, MISLEADING, PARTITIVES, is_compound
from .unseen import (
    BODY_PARTS,
    LIGHT,
    NOT_DRAWN,
    QUALITY,
    QUALITY_OR_THING,
    SETTINGS,
    THINGS_TOO,
    THING_PARTS,
    TIMES,
    is_abstract,
    is_setting,
)
from .verbs import (
    EFFECT_VERBS,
    HOMOGRAPHS,
    ING_NOUNS,
    MAKING,
    MOTION,
    PLACING,
    POSTURE_VERBS,
    POSTURES,
    READY,
    SAYING,
    STATES,
    VEHICLES,
)

__all__ = [name for name in dir() if not name.startswith("_")]
