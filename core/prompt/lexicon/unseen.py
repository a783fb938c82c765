"""Nouns that are not drawn as things of their own: places, parts, quality, style, ideas."""

from __future__ import annotations

from ...keeping import by_word
from .forms import singular
from .lists import phrases, words

# Places of a thing, not things: "on the left side", "in the middle", "at the top".
LIGHT = words(
    "half halves close side front top left right bottom back middle center centre edge corner end inside outside "
    "behind rear foreground background distance vicinity direction position place spot point area way space "
    "surroundings rest manner fashion left-hand right-hand upper lower underside proximity section portion zone "
    "region angle level height base foot interior exterior focus north south east west sides edges corners ends"
)
# Where things are: an object only if it is what the prompt is about, or is described by a colour.
SETTINGS = words(
    "room street road sidewalk pavement path lane highway alley park field meadow pasture forest wood woods jungle "
    "desert beach shore coast sea ocean lake river pond stream water sky air ground floor wall ceiling grass lawn "
    "garden yard backyard city town village kitchen bathroom bedroom hallway lobby lounge office studio classroom gym "
    "garage attic basement cellar hall lot plaza square market countryside landscape seascape cityscape skyline "
    "horizon snow sand dirt mud fog mist rain sunlight sunshine moonlight indoors outdoors space universe world earth "
    "land hill hillside mountainside cliffside valley playground farm zoo harbor harbour dock pier runway driveway "
    "sunset sunrise dusk dawn night evening morning afternoon day daytime nighttime night-time weather wind breeze "
    "storm summer winter autumn spring fall wilderness shade shadow shadows darkness waves scenery nature environment "
    "neighborhood neighbourhood terrain mountains clouds leaves gravel home cave gallery museum restaurant cafe "
    "library store shop school church hospital station airport stadium court arena rink slope trail track stage"
)
# Of these, times and weather: never a thing, as a tag of its own either.
TIMES = words(
    "sunset sunrise dusk dawn night evening morning afternoon day daytime nighttime night-time weather summer winter "
    "autumn spring fall indoors outdoors sunlight sunshine moonlight darkness noon midday midnight twilight"
)
# Belong to a body: "in their hand". An object only when described in its own right ("long hair").
BODY_PARTS = words(
    "hand hands arm arms leg legs foot feet finger fingers thumb toe toes head neck shoulder shoulders back chest "
    "waist hip hips knee knees face eye eyes ear ears nose mouth lip lips tongue tooth teeth hair beard mustache "
    "moustache skin fur tail paw paws claw claws mane wing wings beak fin fins hoof hooves body torso lap elbow wrist "
    "ankle cheek chin forehead brow belly stomach breast breasts muzzle snout whiskers antlers flesh scales"
)
# Of these, what is a thing of its own with an article: "a pirate carrying a chest".
THINGS_TOO = words("chest")
# Belong to a thing when said to be its own: "its wheels", "the door of the house".
THING_PARTS = words(
    "wheel wheels tire tires tyre tyres handle handles lid screen cover surface blade blades petal petals stem bark "
    "branch branches leaf leaves root roots roof door doors window windows seat backrest headlight headlights bumper "
    "hood bonnet engine cord button buttons collar sleeve sleeves strap straps spout rim tip peel crust frame string "
    "strings pedal pedals sail sails bristles fabric cushion cushions contents spots stripes interior page pages side "
    "base bottom top edge body legs arm arms trunk horn horns feather feathers"
)
# Words of tag lists that ask for quality, style or a camera: nothing to draw.
QUALITY = words(
    "masterpiece quality resolution detail details detailing hd uhd hdr 4k 8k 16k 2k absurdres highres lowres score "
    "artstation deviantart pixiv unreal engine octane render vray bokeh lighting light focus style aesthetic "
    "aesthetics art artist concept design wallpaper photography cinematography photorealism realism hyperrealism "
    "surrealism impressionism lens exposure aperture iso film grain composition perspective depth contrast saturation "
    "texture textures shading rendering palette tone tones vibe mood viewer pov angle rating safe sfw nsfw solo "
    "official anatomy proportions noise blur jpeg artifact artifacts signature watermark text username trending award "
    "winning kodak canon nikon sony leica fujifilm dslr polaroid closeup cg cgi 3d 2d pixel anime lineart "
    "brushstrokes technique medium color colors colour colours colouring coloring scheme gradient effect effects "
    "filter res lowres hires low-res hi-res background reflection reflections look theme version"
)
# Of these, what an article makes a thing: "a painter with a palette".
QUALITY_OR_THING = words("lens palette engine artist film text filter signature texture design reflection")
NOT_DRAWN = phrases(
    "full body, upper body, lower body, cowboy shot, depth of field, golden hour, blue hour, low angle, wide angle, "
    "long shot, side view, unreal engine, octane render"
)
# Nouns for what can't be seen as a thing. Endings such as -ness are recognised by `is_abstract`.
ABSTRACT = words(
    "fantasy adventure air ambiance ambience appeal appearance array arrangement atmosphere attention attraction aura "
    "awe backdrop balance beauty blend bliss breeze calm care chance chaos character charm cheer choice clarity class "
    "coexistence comfort company comparison concern conjunction content contrast control convenience cooking "
    "counterpoint courage curiosity dance dare day days delight depth desire difference dimension display distance "
    "distress drama dream dreams duty ease elegance emotion energy enjoyment entertainment event evening example "
    "excitement expanse experience expression fact fame fashion fate favor favour fear feast feature feel feeling fit "
    "flair flavor flavour flight form formation freedom fright fun function future game glance glee glory glow goal "
    "grace gaze grandeur greenery grief growth habit handiness harmony haste heat heaven help height history hope "
    "hour hours hue hues humor humour hunger idea impression inspiration interest intrigue job journey joy "
    "juxtaposition laughter layer layout leisure length life light line link location look love luck luxury magic "
    "majesty manner matter meal meals meaning memory mess mind minute minutes mischief moment moments month mood "
    "morning motion movement music mystery name need news night noise note nothing novelty order pace pain part party "
    "passion patience pattern peace piece place plan play pleasure point pop pose position possibility power practice "
    "presence present pride privacy problem process progress promise purpose quantity question quest quiet race reach "
    "reason relief relaxation rest result rhythm ride risk romance safety scale scene season sense sensation serenity "
    "shelter shine show sight silence size skill sleep smell solace solitude something anything everything song sort "
    "sound speed spirit splash splendor sport spot stability stance statement story strength stress stretch style "
    "success summer support surprise symmetry talent task taste tension test things thing thirst thought thrill time "
    "times title tone top touch trace tranquility travel treat treats trick tricks trip trouble truth turn type unity "
    "use utility vacation value variety velocity vibe vicinity view vigor visit warmth way ways week weight whim "
    "whimsy wisdom wonder work world worry year years youth zest smile smiles grin blush poses foresight hindsight "
    "insight pair number lot lots kind amount plenty majority burst bursts dash hug hugs kiss kisses hint protection "
    "storage access usage assistance bite sip item items object objects materials stuff equipment accessory set-up "
    "setup composition sides decor decoration stunt stunts performance addition width"
)
_ABSTRACT_ENDINGS = ("ness", "ity", "ism", "ship", "hood", "ance", "ence", "tion", "sion", "cy", "ment", "tude", "dom")
_CONCRETE_DESPITE_ENDING = words(
    "harness witness lioness business city facility university ship spaceship starship airship steamship battleship "
    "warship neighborhood neighbourhood hood fence ambulance appliance entrance conference audience residence station "
    "television mansion constellation vegetation lotion potion plantation apartment instrument monument garment "
    "basement ornament pavement compartment cement settlement kingdom pharmacy agency celebrity deity cavity "
    "intersection installation invitation decoration congregation carnation explosion vanity document parchment "
    "tournament establishment department fragment pigment condiment"
)


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
