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

# Little and frequent words of other languages.
FOREIGN = words(
    "un une des les dans avec sur sous et est du au aux qui chat chien femme homme noir rouge bleu una unos unas con "
    "sobre bajo y por para los las el del al que gato perro mujer hombre gatto donna uomo ein eine einen einem einer "
    "eines und mit auf unter neben der das dem den ist im zwei hund katze frau mann il lo gli sopra sotto nel nella "
    "sul sulla di della dei de la le um uma com em na da dos das mulher cachorro het een met op naast onder zwarte en "
    "ett med och på katt jest na z i pod obok kot pies bir ve ile üzerinde altında kedi van von"
)
# Of these, what English prompts have too, in names ("Rio de la Plata") and otherwise ("film noir"): no proof alone.
IN_ENGLISH = words(
    "de la le los las el van der von du da di des les del al il lo na en y z i met bar ist em com con dos das par est "
    "op mit im noir rouge bleu chat sur sous au aux et para hombre femme den pod pies jest med mann um uma della dem"
)
ENGLISH = words(
    "a the of with and on in is are to at by from an his her their its it that who which this for wearing holding "
    "sitting standing man woman girl boy cat dog red blue green black white"
)
