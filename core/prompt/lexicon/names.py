"""What nouns name: compounds, pictures of things, counts and containers of things."""

from __future__ import annotations

from .forms import singular
from .lists import phrases, words

# Adjective + noun that name one thing; without them "hot dog" would be a dog that is hot.
COMPOUNDS = phrases(
    "hot dog, potted plant, polar bear, grizzly bear, guinea pig, high chair, electric guitar, acoustic guitar, hot "
    "tub, hot air balloon, french fries, french fry, grand piano, big ben, ice cream, stuffed animal, solar panel, "
    "mobile phone, remote control, floppy disk, hard drive, hard hat, wild boar, green bean, bald eagle, golden "
    "retriever, great dane, german shepherd, swiss army knife, ferris wheel, full moon, killer whale, red panda, high "
    "heels, dining table, washing machine, sewing machine, swimming pool, frying pan, cutting board, sleeping bag, "
    "parking meter, rocking chair, fishing rod, running shoes, walking stick, rolling pin, ironing board, vending "
    "machine, chewing gum, baking sheet, mixing bowl, measuring cup, wedding dress, wedding cake, drinking glass, "
    "shopping bag, shopping cart, hiking boots, flying saucer, racing car, sailing boat, sailing ship, bowling ball, "
    "boxing glove, serving tray, skipping rope, shower curtain, stop sign, traffic light, street light, stop light, "
    "tail light, night light, christmas light, fairy light, string light, ceiling light, fire hydrant, paint brush, "
    "punch bag, swim suit, living room, table top, tank top, crop top, top hat, bowler hat, bow tie, cowboy hat, "
    "light bulb, baseball cap, high heel, black hole, long sword, short sword, round table, easy chair, playing card, "
    "spinning wheel, spinning top, still life, coffee machine, telephone box, telephone booth, toy train"
)
# "a photo of a cat": the picture itself; the object is what it shows.
MEDIA = words(
    "photo photograph picture image painting illustration drawing sketch render rendering portrait closeup close-up "
    "view shot snapshot watercolor watercolour artwork depiction scene selfie collage print cartoon still-life macro "
    "panorama screenshot vector clipart silhouette graphic animation anime manga comic"
)
# Pictures only when they are "of" something and stand first: "concept art of a ship", "a poster of a band".
MEDIA_OF = words(
    "art artwork poster print still visual cover concept design logo icon emoji sticker wallpaper model meme capture "
    "frame footage photography masterpiece study lineart polaroid card stamp mural tattoo banner thumbnail avatar "
    "graffiti fresco engraving etching woodcut diagram blueprint doodle sprite hologram mosaic portraiture work piece "
    "closeshot montage fanart screencap cinematic film movie scan mugshot panel page spread cutout papercut fanfic "
    "trailer storyboard scroll double-exposure"
)
# "a painting depicting a cat"
DEPICTING = words("depicting showing featuring portraying picturing illustrating representing displaying depicts shows")
# "a pair of skis", "a flock of sheep": the object is what they count.
PARTITIVES = words(
    "pair piece slice stalk bunch flock herd group crowd set couple number lot lots variety collection array row line "
    "pile stack heap kind type sort sorts bit part chunk lump handful cluster bundle swarm pack school team trio duo "
    "dozen dozens hundred hundreds thousand thousands amount plenty majority selection assortment range strand sprig "
    "clump sheet roll loaf head ear patch mass litter pod colony fleet half quarter rest spray bouquet series "
    "multitude abundance splash drop drops touch hint dash single stick"
)
# "a cup of coffee": the container is the object; a mass in it describes it, countable things in it are objects too.
CONTAINERS = words(
    "cup glass mug bowl plate bottle jar can box basket bag vase pot tray bucket barrel pitcher jug carton packet "
    "crate tub tin dish saucer goblet flask tank cart sack case teapot kettle platter pan spoon spoonful"
)
# "a statue of a horse" is one thing.
DEPICTIONS = words("statue sculpture figurine bust replica sign model doll")
# The last word of these does not name them: "the dog" is never a hot dog.
MISLEADING = phrases(
    "hot dog, guinea pig, hot tub, hot air balloon, ferris wheel, swiss army knife, teddy bear dress, wine glass bottle"
)


def is_compound(words: list[str]) -> bool:
    """Whether the words name one thing together, "hot dogs" like "hot dog"."""
    return " ".join(words) in COMPOUNDS or " ".join([*words[:-1], singular(words[-1])]) in COMPOUNDS
