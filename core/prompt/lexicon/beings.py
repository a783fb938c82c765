"""Who can act: persons, animals and creatures. What is done in a phrase is done by them rather than by a hat."""

from __future__ import annotations

from ...keeping import by_word
from .forms import singular
from .lists import words

PERSONS = words(
    "person man woman boy girl child kid baby toddler guy lady gentleman adult teenager teen human player rider "
    "driver skier snowboarder surfer skater king queen prince princess knight soldier wizard witch chef cook doctor "
    "nurse teacher student farmer worker dancer singer artist astronaut pirate ninja samurai warrior hero heroine "
    "policeman policewoman firefighter cowboy clown musician someone somebody mother father brother sister "
    "grandmother grandfather son daughter bride groom mermaid elf fairy vampire monk priest nun athlete model "
    "businessman businesswoman traveler traveller hiker cyclist motorcyclist fisherman sailor pilot people men women "
    "children couple"
)
ANIMALS = words(
    "cat kitten dog puppy corgi poodle pug husky dachshund retriever shepherd terrier bulldog chihuahua beagle hound "
    "horse pony foal mare stallion donkey mule zebra cow bull calf ox sheep lamb goat ram pig piglet boar bear cub "
    "panda koala kangaroo wallaby lion lioness tiger leopard cheetah jaguar panther puma lynx cougar wolf fox coyote "
    "jackal hyena elephant mammoth rhino rhinoceros hippo hippopotamus giraffe deer stag doe fawn moose elk reindeer "
    "antelope gazelle camel llama alpaca bison buffalo yak monkey ape gorilla chimpanzee orangutan baboon lemur sloth "
    "rabbit bunny hare squirrel chipmunk hamster gerbil mouse rat hedgehog porcupine beaver otter badger skunk "
    "raccoon weasel ferret mole bat opossum possum armadillo anteater seal walrus whale dolphin orca shark fish "
    "goldfish koi octopus squid jellyfish crab lobster seahorse turtle tortoise frog toad lizard gecko iguana "
    "chameleon snake cobra python crocodile alligator dinosaur raptor velociraptor t-rex bird parrot owl eagle hawk "
    "falcon vulture raven crow magpie pigeon dove sparrow robin finch hummingbird swan duck duckling goose chicken "
    "hen rooster chick turkey peacock penguin flamingo stork crane heron pelican seagull gull ostrich emu toucan "
    "cockatoo woodpecker butterfly moth bee wasp ant beetle ladybug dragonfly spider scorpion snail slug worm "
    "caterpillar axolotl capybara meerkat teddy puppet doll platypus platypuses marmot narwhal manatee stingray "
    "salmon trout tuna animal pet beast creature"
)
CREATURES = words(
    "robot android cyborg mech alien monster dragon unicorn pegasus griffin gryphon phoenix centaur minotaur goblin "
    "orc troll ogre giant dwarf gnome hobbit pixie leprechaun demon devil angel god goddess ghost spirit skeleton "
    "zombie mummy werewolf ghoul sorcerer sorceress magician mage warlock druid shaman necromancer paladin ranger "
    "archer assassin rogue viking gladiator sheriff spy detective emperor empress duke duchess lord knight jester "
    "snowman scarecrow golem mermaid siren superhero villain figure character avatar baker barista waiter waitress "
    "butler maid bartender barber painter sculptor potter carpenter blacksmith plumber electrician mechanic engineer "
    "scientist professor gardener shepherd fisher hunter butcher tailor judge lawyer officer guard guardian nanny "
    "lady gent lad lass granny grandma grandpa uncle aunt nephew niece friend twin stranger tourist swimmer runner "
    "climber boxer wrestler gymnast golfer goalkeeper acrobat juggler ballerina drummer guitarist pianist violinist "
    "singer rapper skateboarder biker rider jockey cosplayer gamer youth crowd audience pair trio team family bride "
    "student pupil florist dentist nurse surgeon clerk cashier courier postman mailman fireman miner lumberjack "
    "peasant noble servant slave prisoner thief burglar pharaoh geisha shinobi ronin swordsman swordswoman "
    "swordfighter huntress priestess enchantress dame maiden she he boss"
)
# Names that end in these are of buildings and the like: "the Sydney Opera House" does nothing.
LANDMARKS = words(
    "tower house bridge castle palace temple wall gate museum cathedral church statue canyon mountain mount falls "
    "square park street stadium hall opera building center centre station airport lake river island fuji everest "
    "colosseum taj mahal ben pyramid pyramids sphinx stonehenge arch needle monument memorial garden gardens city"
)
_ENDINGS = ("man", "woman", "men", "women", "person", "girl", "boy", "ist", "ician", "ess", "saur", "lady", "people")
_NO_BEING = words(
    "fist twist list mist waist wrist toast dress mattress fortress cypress address business chess mess press "
    "compress access excess process success wilderness harness darkness witness glass talisman ottoman"
)


@by_word
def is_person(word: str) -> bool:
    """Whether a noun names a human being, or what is drawn like one."""
    one = singular(word)
    return one in PERSONS or (one in CREATURES and one not in ANIMALS)


@by_word
def is_agent(word: str) -> bool:
    """Whether a noun names something that acts by itself."""
    one = singular(word)
    if one in _NO_BEING or word in _NO_BEING:
        return False
    return one in PERSONS or one in ANIMALS or one in CREATURES or (len(one) > 4 and one.endswith(_ENDINGS))
