"""Closed word lists: what a part-of-speech tag cannot say about an English word in a picture's description.

A noun is an object unless it is listed here as something that is not drawn as a thing of its own. The lists are
general knowledge about English, both spellings where they differ.
"""

from __future__ import annotations

from ..keeping import by_word


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase.strip() for phrase in text.split(","))


COLOURS = _words(
    "black white red green blue yellow orange purple pink brown grey gray silver gold golden violet turquoise cyan "
    "magenta beige cream maroon crimson scarlet indigo teal navy olive tan lavender amber bronze copper ivory khaki "
    "lilac mauve mint peach burgundy aqua azure charcoal coral emerald fuchsia lime ochre plum rust salmon sapphire "
    "ruby multicolored multicoloured multi-colored multi-coloured rainbow colorful colourful blonde blond brunette"
)
SHADES = _words("dark light bright pale deep neon pastel vivid soft hot baby sky royal forest dusty")
# Nouns when nothing follows them: "the orange", "a peach"; other colours alone ("a deep red") name no object.
COLOUR_NOUNS = _words(
    "orange peach plum lime coral salmon mint olive lavender lilac violet gold silver rose rainbow emerald ruby "
    "sapphire copper bronze blonde brunette rust"
)
MATERIALS = _words(
    "wood metal plastic glass stone brick leather steel iron marble concrete crystal velvet silk satin denim wool "
    "cotton linen lace bamboo wicker porcelain ceramic clay rubber cardboard straw brass tile granite chrome "
    "aluminium aluminum fur felt gold silver bronze copper paper lego cobblestone asphalt"
)
# Adjective + noun that name one thing; without them "hot dog" would be a dog that is hot.
COMPOUNDS = _phrases(
    "hot dog, potted plant, polar bear, grizzly bear, guinea pig, high chair, electric guitar, acoustic guitar, hot "
    "tub, hot air balloon, french fries, french fry, grand piano, big ben, ice cream, stuffed animal, solar panel, "
    "mobile phone, remote control, floppy disk, hard drive, hard hat, wild boar, green bean, bald eagle, golden "
    "retriever, great dane, german shepherd, swiss army knife, ferris wheel, full moon, killer whale, red panda, "
    "high heels, dining table, washing machine, sewing machine, swimming pool, frying pan, cutting board, sleeping "
    "bag, parking meter, rocking chair, fishing rod, running shoes, walking stick, rolling pin, ironing board, "
    "vending machine, chewing gum, baking sheet, mixing bowl, measuring cup, wedding dress, wedding cake, drinking "
    "glass, shopping bag, shopping cart, hiking boots, flying saucer, racing car, sailing boat, sailing ship, "
    "bowling ball, boxing glove, serving tray, skipping rope, shower curtain, stop sign, traffic light, street "
    "light, stop light, tail light, night light, christmas light, fairy light, string light, ceiling light, fire "
    "hydrant, paint brush, punch bag, swim suit, living room, table top, tank top, crop top"
)

# "a photo of a cat": the picture itself; the object is what it shows.
MEDIA = _words(
    "photo photograph picture image painting illustration drawing sketch render rendering portrait closeup close-up "
    "view shot snapshot watercolor watercolour artwork depiction scene selfie collage print cartoon still-life "
    "macro panorama screenshot vector clipart silhouette graphic animation anime manga comic"
)
# "a pair of skis", "a flock of sheep": the object is what they count.
PARTITIVES = _words(
    "pair piece slice stalk bunch flock herd group crowd set couple number lot lots variety collection array row "
    "line pile stack heap kind type sort sorts bit part chunk lump handful cluster bundle swarm pack school team "
    "trio duo dozen dozens hundred hundreds thousand thousands amount plenty majority selection assortment range "
    "strand sprig clump sheet roll loaf head ear patch mass litter pod colony fleet half quarter rest spray bouquet "
    "series multitude abundance splash drop drops touch hint dash single stick"
)
# "a cup of coffee": the container is the object; a mass in it describes it, countable things in it are objects too.
CONTAINERS = _words(
    "cup glass mug bowl plate bottle jar can box basket bag vase pot tray bucket barrel pitcher jug carton packet "
    "crate tub tin dish saucer goblet flask tank cart sack case teapot kettle platter pan spoon spoonful"
)

# Places of a thing, not things: "on the left side", "in the middle", "at the top".
LIGHT = _words(
    "close side front top left right bottom back middle center centre edge corner end inside outside behind rear "
    "foreground background distance vicinity direction position place spot point area way space surroundings rest "
    "manner fashion left-hand right-hand upper lower underside proximity section portion zone region angle level "
    "height base foot interior exterior focus north south east west sides edges corners ends"
)
# Where things are: an object only if it is what the prompt is about, or is described by a colour.
SETTINGS = _words(
    "room street road sidewalk pavement path lane highway alley park field meadow pasture forest wood woods jungle "
    "desert beach shore coast sea ocean lake river pond stream water sky air ground floor wall ceiling grass lawn "
    "garden yard backyard city town village kitchen bathroom bedroom hallway lobby lounge office studio classroom "
    "gym garage attic basement cellar hall lot plaza square market countryside landscape seascape cityscape skyline "
    "horizon snow sand dirt mud fog mist rain sunlight sunshine moonlight indoors outdoors space universe world "
    "earth land hill hillside mountainside cliffside valley playground farm zoo harbor harbour dock pier runway "
    "driveway sunset sunrise dusk dawn night evening morning afternoon day daytime nighttime night-time weather "
    "wind breeze storm summer winter autumn spring fall wilderness shade shadow shadows darkness waves scenery "
    "nature environment neighborhood neighbourhood terrain mountains clouds leaves gravel home cave gallery museum "
    "restaurant cafe library store shop school church hospital station airport stadium court arena rink slope trail "
    "track stage"
)
# Belong to a body: "in their hand". An object only when described in its own right ("long hair").
BODY_PARTS = _words(
    "hand hands arm arms leg legs foot feet finger fingers thumb toe toes head neck shoulder shoulders back chest "
    "waist hip hips knee knees face eye eyes ear ears nose mouth lip lips tongue tooth teeth hair beard mustache "
    "moustache skin fur tail paw paws claw claws mane wing wings beak fin fins hoof hooves body torso lap elbow "
    "wrist ankle cheek chin forehead brow belly stomach breast breasts muzzle snout whiskers antlers flesh scales"
)
# Belong to a thing when said to be its own: "its wheels", "the door of the house".
THING_PARTS = _words(
    "wheel wheels tire tires tyre tyres handle handles lid screen cover surface blade blades petal petals stem bark "
    "branch branches leaf leaves root roots roof door doors window windows seat backrest headlight headlights "
    "bumper hood bonnet engine cord button buttons collar sleeve sleeves strap straps spout rim tip peel crust "
    "frame string strings pedal pedals sail sails bristles fabric cushion cushions contents spots stripes interior "
    "page pages side base bottom top edge body legs arm arms trunk horn horns feather feathers"
)
# "a statue of a horse" is one thing.
DEPICTIONS = _words("statue sculpture figurine bust replica sign model doll")

# Words of tag lists that ask for quality, style or a camera: nothing to draw.
QUALITY = _words(
    "masterpiece quality resolution detail details detailing hd uhd hdr 4k 8k 16k 2k absurdres highres lowres score "
    "artstation deviantart pixiv unreal engine octane render vray bokeh lighting light focus style aesthetic "
    "aesthetics art artist concept design wallpaper photography cinematography photorealism realism hyperrealism "
    "surrealism impressionism lens exposure aperture iso film grain composition perspective depth contrast "
    "saturation texture textures shading rendering palette tone tones vibe mood viewer pov angle rating safe sfw "
    "nsfw solo official anatomy proportions noise blur jpeg artifact artifacts signature watermark text username "
    "trending award winning kodak canon nikon sony leica fujifilm dslr polaroid closeup cg cgi 3d 2d pixel anime "
    "lineart brushstrokes technique medium color colors colour colours colouring coloring scheme gradient effect "
    "effects filter background reflection reflections look theme version"
)
# Of these, what an article makes a thing: "a painter with a palette".
QUALITY_OR_THING = _words("lens palette engine artist film text filter signature texture design reflection")
NOT_DRAWN = _phrases(
    "full body, upper body, lower body, cowboy shot, depth of field, golden hour, blue hour, low angle, wide angle, "
    "long shot, side view, unreal engine, octane render"
)
# Nouns for what can't be seen as a thing. Endings such as -ness are recognised by `is_abstract`.
ABSTRACT = _words(
    "adventure air ambiance ambience appeal appearance array arrangement atmosphere attention attraction aura awe "
    "backdrop balance beauty blend bliss breeze calm care chance chaos character charm cheer choice clarity class "
    "coexistence comfort company comparison concern conjunction content contrast control convenience cooking "
    "counterpoint courage curiosity dance dare day days delight depth desire difference dimension display distance "
    "distress drama dream dreams duty ease elegance emotion energy enjoyment entertainment event evening example "
    "excitement expanse experience expression fact fame fashion fate favor favour fear feast feature feel feeling "
    "fit flair flavor flavour flight form formation freedom fright fun function future game glance glee glory glow "
    "goal grace gaze grandeur greenery grief growth habit handiness harmony haste heat heaven help height history "
    "hope hour hours hue hues humor humour hunger idea impression inspiration interest intrigue job journey joy "
    "juxtaposition laughter layer layout leisure length life light line link location look love luck luxury magic "
    "majesty manner matter meal meals meaning memory mess mind minute minutes mischief moment moments month mood "
    "morning motion movement music mystery name need news night noise note nothing novelty order pace pain part "
    "party passion patience pattern peace piece place plan play pleasure point pop pose position possibility power "
    "practice presence present pride privacy problem process progress promise purpose quantity question quest quiet "
    "race reach reason relief relaxation rest result rhythm ride risk romance safety scale scene season sense "
    "sensation serenity shelter shine show sight silence size skill sleep smell solace solitude something anything "
    "everything song sort sound speed spirit splash splendor sport spot stability stance statement story strength "
    "stress stretch style success summer support surprise symmetry talent task taste tension test things thing "
    "thirst thought thrill time times title tone top touch trace tranquility travel treat treats trick tricks trip "
    "trouble truth turn type unity use utility vacation value variety velocity vibe vicinity view vigor visit "
    "warmth way ways week weight whim whimsy wisdom wonder work world worry year years youth zest smile smiles grin "
    "blush poses foresight hindsight insight pair number lot lots kind amount plenty majority burst bursts dash "
    "hint protection storage access usage assistance bite sip item items object objects materials stuff equipment "
    "accessory set-up setup composition sides decor decoration stunt stunts performance addition width"
)
_ABSTRACT_ENDINGS = ("ness", "ity", "ism", "ship", "hood", "ance", "ence", "tion", "sion", "cy", "ment", "tude", "dom")
_CONCRETE_DESPITE_ENDING = _words(
    "harness witness lioness business city facility university ship spaceship starship airship steamship battleship "
    "warship neighborhood neighbourhood hood fence ambulance appliance entrance conference audience residence "
    "station television mansion constellation vegetation lotion potion plantation apartment instrument monument "
    "garment basement ornament pavement compartment cement settlement kingdom pharmacy agency celebrity deity "
    "cavity intersection installation invitation decoration congregation carnation explosion vanity document "
    "parchment tournament establishment department fragment pigment condiment"
)

# Verbs whose object is an effect on the onlooker: "creating a colourful contrast", "adding a touch of green".
EFFECT_VERBS = _words(
    "create creates created creating add adds added adding provide provides provided providing make makes made "
    "making give gives gave giving complete completes completed completing contrast contrasts contrasting "
    "complement complements complementing offer offers offering bring brings bringing enhance enhances enhancing "
    "lend lends lending evoke evokes evoking form forms forming bask basking enjoy enjoys enjoying serve serves "
    "serving capture captures capturing cast casts casting emphasize emphasizing highlight highlights highlighting "
    "accentuate accentuating exude exudes exuding suggest suggests suggesting symbolize symbolizing allow allows "
    "allowing ensure ensuring keep keeping produce produces producing attract attracts attracting draw drawing emit "
    "emits emitting leave leaves leaving showcase showcasing blend blending resemble resembling balance become "
    "becoming seem seeming appear appearing represent representing express expressing boast boasting pop popping "
    "illuminate illuminating brighten brightening"
)
# Verbs whose object stands in a relation to the subject, by the relation's name.
ACTIONS = {
    form: predicate
    for predicate, forms in {
        "holding": "hold holds held holding carry carries carried carrying",
        "wearing": "wear wears wore wearing",
        "riding": "ride rides rode riding",
        "eating": "eat eats ate eating",
        "chasing": "chase chases chased chasing",
        "pushing": "push pushes pushing",
        "pulling": "pull pulls pulling",
    }.items()
    for form in forms.split()
}
READY = _words("ready eager prepared waiting set about perfect ideal available suitable convenient")

POSTURE_VERBS = _words(
    "rests stands sits lies hovers floats hangs flies leans rises sleeps soars towers looms stretches faces waits "
    "watches grazes roams swims"
)

# Words that are nouns in a description unless their place in it says otherwise.
HOMOGRAPHS = _words(
    "remote can saw bear sink hydrant orange ostrich ottoman raven rose sled lighter safe spoon peach seal duck "
    "swing slide stop key drier dryer kiwi giraffe tuna taco sushi"
)
# Nouns in -ing that name a thing, so that "a person eating noodles" is not one.
ING_NOUNS = _words(
    "building painting king ring wing string spring ceiling clothing earring wedding railing icing stocking pudding "
    "sibling duckling gosling flooring bearing bling sling lightning dumpling herring starling living dining"
)

PERSONS = _words(
    "person man woman boy girl child kid baby toddler guy lady gentleman adult teenager teen human player rider "
    "driver skier snowboarder surfer skater king queen prince princess knight soldier wizard witch chef cook doctor "
    "nurse teacher student farmer worker dancer singer artist astronaut pirate ninja samurai warrior hero heroine "
    "policeman policewoman firefighter cowboy clown musician someone somebody mother father brother sister "
    "grandmother grandfather son daughter bride groom mermaid elf fairy vampire monk priest nun athlete model "
    "businessman businesswoman traveler traveller hiker cyclist motorcyclist fisherman sailor pilot people men "
    "women children couple"
)
NOT_ATTRIBUTES = _words(
    "other another same own several many few some single various different second first third last next both all "
    "each every such certain more most less least main whole entire only one two three four five six seven eight "
    "nine ten eleven twelve dozen numerous multiple lone left right nearby near far upper lower left-hand "
    "right-hand opposite front back middle rear top bottom better best good great present visible available ready "
    "able alone free immediate exact very top-right top-left bottom-left bottom-right"
)
# The last word of these does not name them: "the dog" is never a hot dog.
MISLEADING = _phrases(
    "hot dog, guinea pig, hot tub, hot air balloon, ferris wheel, swiss army knife, teddy bear dress, wine glass bottle"
)
OTHERNESS = _words("other another second third fourth different")  # "the other cat" is a new cat

_IRREGULAR = dict(
    pair.split(":")
    for pair in (
        "people:person men:man women:woman children:child mice:mouse geese:goose feet:foot teeth:tooth knives:knife "
        "wolves:wolf shelves:shelf leaves:leaf scarves:scarf wives:wife loaves:loaf halves:half calves:calf "
        "elves:elf hooves:hoof oxen:ox policemen:policeman firemen:fireman thieves:thief buses:bus gases:gas "
        "lenses:lens canvases:canvas potatoes:potato tomatoes:tomato heroes:hero mangoes:mango movies:movie "
        "cookies:cookie ties:tie pies:pie zombies:zombie hoodies:hoodie selfies:selfie horses:horse houses:house "
        "vases:vase roses:rose noses:nose nurses:nurse purses:purse cases:case bases:base axes:axe cheeses:cheese "
        "blouses:blouse fries:fries caches:cache "
    ).split()
)
_SAME_IN_BOTH = _words(
    "scissors skis glasses sunglasses jeans pants trousers shorts binoculars headphones pliers tongs tweezers "
    "pajamas pyjamas goggles bus gas lens series species news canvas tennis"
)


@by_word
def singular(word: str) -> str:
    """The form that "cat" and "cats" share, to recognise a thing mentioned again."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SAME_IN_BOTH or len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zzes")):
        return word[:-2]
    return word[:-1]


def is_compound(words: list[str]) -> bool:
    """Whether the words name one thing together, "hot dogs" like "hot dog"."""
    return " ".join(words) in COMPOUNDS or " ".join([*words[:-1], singular(words[-1])]) in COMPOUNDS


def is_plural(word: str) -> bool:
    return singular(word) != word or word in _SAME_IN_BOTH - {"bus", "gas", "lens", "canvas", "tennis", "news"}


def is_setting(word: str) -> bool:
    return word in SETTINGS or singular(word) in SETTINGS


@by_word
def is_abstract(word: str) -> bool:
    """A noun for something that can't be pointed at in a picture."""
    one = singular(word)
    if word in ABSTRACT or one in ABSTRACT:
        return True
    return (
        one.endswith(_ABSTRACT_ENDINGS)
        and len(one) > 5
        and one not in _CONCRETE_DESPITE_ENDING
        and word not in _CONCRETE_DESPITE_ENDING
    )
