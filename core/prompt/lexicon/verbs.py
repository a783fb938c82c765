"""Verbs, by what their object or their subject is."""

from __future__ import annotations

from .lists import words

# Verbs whose object is an effect on the onlooker: "creating a colourful contrast", "adding a touch of green".
EFFECT_VERBS = words(
    "create creates created creating add adds added adding provide provides provided providing make makes made making "
    "give gives gave giving complete completes completed completing contrast contrasts contrasting complement "
    "complements complementing offer offers offering bring brings bringing enhance enhances enhancing lend lends "
    "lending evoke evokes evoking form forms forming bask basking enjoy enjoys enjoying serve serves serving capture "
    "captures capturing cast casts casting emphasize emphasizing highlight highlights highlighting accentuate "
    "accentuating exude exudes exuding suggest suggests suggesting symbolize symbolizing allow allows allowing ensure "
    "ensuring keep keeping produce produces producing attract attracts attracting draw drawing emit emits emitting "
    "leave leaves leaving showcase showcasing blend blending resemble resembling balance become becoming seem seeming "
    "appear appearing represent representing express expressing boast boasting pop popping illuminate illuminating "
    "brighten brightening"
)
# Ways to be somewhere; those in -ed and the like are said of persons and animals first.
POSTURES = words(
    "sitting standing lying sleeping resting leaning kneeling perched seated hanging waiting squatting crouching "
    "relaxing napping floating dancing jumping running walking posing standing swimming lounging laying posed"
)
# What vehicles do by themselves.
MOTION = words(
    "driving flying sailing moving racing speeding passing floating drifting parked crashing rolling hovering landing "
    "orbiting soaring running turning exploding going coming travelling traveling waiting standing burning"
)
VEHICLES = words(
    "car truck bus train van boat ship airplane plane helicopter motorcycle bicycle bike spaceship taxi tram rocket "
    "submarine scooter tractor ferry jet airship ufo drone tank ambulance sailboat yacht canoe wagon carriage "
    "zeppelin"
)
# A picture's maker, not a place, comes after "painted by"; an author's name after a bare "by".
MAKING = words(
    "painted drawn made illustrated designed created rendered photographed shot directed sketched sculpted imagined "
    "inspired influenced composed produced art artwork painting drawing illustration photo photograph photography "
    "render design concept style"
)
# "surrounded by flowers" says where they are, and no more.
STATES = words(
    "surrounded flanked accompanied lit illuminated covered framed bordered decorated adorned dominated joined "
    "overgrown enclosed engulfed encircled filled topped backlit guarded parked placed situated positioned located "
    "seated"
)
# What is done to a thing by bringing it somewhere: "drawing a dinosaur on a blackboard" puts the dinosaur there.
PLACING = words(
    "putting placing drawing painting pouring balancing setting dropping throwing casting writing spreading carving "
    "hanging laying stacking adding frying mounting building printing pinning sticking positioning serving tossing "
    "loading planting sprinkling arranging hiding"
)
# Whose object goes along with the subject.
HOLDING = words("holding carrying hugging cradling embracing petting walking leading wearing lifting cuddling")
SAYING = words(
    "says say saying reads reading reading: text written labeled labelled titled word words that letters called"
)
READY = words("ready eager prepared waiting set about perfect ideal available suitable convenient")
POSTURE_VERBS = words(
    "rests stands sits lies hovers floats hangs flies leans rises sleeps soars towers looms stretches faces waits "
    "watches grazes roams swims"
)
# Words that are nouns in a description unless their place in it says otherwise.
HOMOGRAPHS = words(
    "remote can saw bear sink hydrant orange ostrich ottoman raven rose sled lighter safe spoon peach seal duck swing "
    "slide stop key drier dryer kiwi giraffe tuna taco sushi"
)
# Nouns in -ing that name a thing, so that "a person eating noodles" is not one.
ING_NOUNS = words(
    "building painting king ring wing string spring ceiling clothing earring wedding railing icing stocking pudding "
    "sibling duckling gosling flooring bearing bling sling lightning dumpling herring starling living dining"
)
