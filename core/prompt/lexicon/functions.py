"""Words that hold sentences together: negation, joints, pronouns; and those of other languages."""

from __future__ import annotations

from .lists import phrases, words

PRONOUNS = words("it them they him he her she")
SUBORDINATORS = words("while whereas whilst as when where because although though so but until if")

# What follows is not in the picture. Longer ones are tried first.
NEGATORS = phrases(
    "not, never, no longer, without, without any, instead of, rather than, other than, as opposed to, excluding, "
    "except, except for, exclude, excludes, minus, sans, lacking, lacks, devoid of, free of, free from, empty of, "
    "neither, nor, avoid, avoiding, omit, omitting, but not, missing, in place of, apart from, not even, everything "
    "but, anything but, all but"
)
# "not only a cat but also a dog" has both.
NO_NEGATION = phrases("not only, not just, not merely")
NUMERALS = words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million dozen"
)

# Words that are frequent in a language and are no English: two of them, or one in a very short text, tell it.
FOREIGN = words(
    "un une des les dans avec sur sous et est du au aux qui chat chien femme homme noir rouge bleu una unos unas con "
    "sobre bajo y por para los las el del al que gato perro mujer hombre hay ein eine einen einem einer eines und mit "
    "auf unter neben der das dem den ist im zwei hund katze frau mann il lo gli una con sopra sotto nel nella sul "
    "sulla di della dei um uma com em sobre na da dos das mulher een het met op naast onder zwarte rode en ett med "
    "och på under hund katt jest na z i pod obok kot pies czarny bir ve ile üzerinde altında kedi"
)
# Of these, what is common in English names: no proof alone.
IN_NAMES = words("de la los las el san van der von du da di le del des al il lo na en i z y under op met bar da ist")
ENGLISH = words(
    "a the of with and on in is are to at by from an his her their its it that who which this for wearing holding "
    "sitting standing man woman girl boy cat dog red blue green black white"
)
