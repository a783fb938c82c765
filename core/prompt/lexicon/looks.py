"""How things look: colours, shades, materials, and words before a noun that describe nothing."""

from __future__ import annotations

from .lists import words

COLOURS = words(
    "black white red green blue yellow orange purple pink brown grey gray silver gold golden violet turquoise cyan "
    "magenta beige cream maroon crimson scarlet indigo teal navy olive tan lavender amber bronze copper ivory khaki "
    "lilac mauve mint peach burgundy aqua azure charcoal coral emerald fuchsia lime ochre plum rust salmon sapphire "
    "ruby multicolored multicoloured multi-colored multi-coloured rainbow colorful colourful blonde blond brunette"
)
SHADES = words("dark light bright pale deep neon pastel vivid soft hot baby sky royal forest dusty")
# Nouns that tell which shade a colour after them has: "rose gold", "mustard yellow".
SHADE_NOUNS = words(
    "rose mustard jade blood sky forest emerald ruby sapphire salmon navy olive mint lemon cherry wine brick coral "
    "peach sand midnight electric steel slate ash honey chocolate coffee cream pearl snow jet lime sea moss sage pea "
    "canary sunflower bubblegum candy rust ice powder royal cobalt denim ocean lavender apple hunter fire tomato "
    "champagne plum gunmetal turquoise neon"
)
# Nouns when nothing follows them: "the orange", "a peach"; other colours alone ("a deep red") name no object.
COLOUR_NOUNS = words(
    "orange peach plum lime coral salmon mint olive lavender lilac violet gold silver rose rainbow emerald ruby "
    "sapphire copper bronze blonde brunette rust"
)
# Of these, what may well be the thing itself: "an orange and a white plate".
FRUITS = words("orange peach plum lime olive rose emerald ruby sapphire")
MATERIALS = words(
    "wood metal plastic glass stone brick leather steel iron marble concrete crystal velvet silk satin denim wool "
    "cotton linen lace bamboo wicker porcelain ceramic clay rubber cardboard straw brass tile granite chrome "
    "aluminium aluminum fur felt gold silver bronze copper paper lego cobblestone asphalt"
)
NOT_ATTRIBUTES = words(
    "other another same own several many few some single various different second first third last next both all each "
    "every such certain more most less least main whole entire only one two three four five six seven eight nine ten "
    "eleven twelve dozen numerous multiple lone left right nearby near far upper lower left-hand right-hand leftmost "
    "rightmost topmost bottommost opposite front back middle rear top bottom better best good great present visible "
    "available ready able alone free immediate exact very top-right top-left bottom-left bottom-right"
)
OTHERNESS = words("other another second third fourth different")
# Sides of the picture, said before a noun: "the left girl".
SIDES = {
    "left": "left", "left-hand": "left", "leftmost": "left", "right": "right", "right-hand": "right",
    "rightmost": "right", "top": "top", "upper": "top", "topmost": "top", "bottom": "bottom", "lower": "bottom",
    "bottommost": "bottom",
}  # fmt: skip
