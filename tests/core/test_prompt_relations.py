"""Relations that are read from a prompt, pronouns included."""

import pytest
from prompt_fidelity.core.prompt import extract


def relations(text: str) -> set[str]:
    scene = extract(text)
    return {f"{scene.objects[r.subject].name} {r.predicate} {scene.objects[r.object].name}" for r in scene.relations}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a red ball to the left of a blue ring", {"ball left of ring"}),
        ("The bed is at the left side of the cat.", {"bed left of cat"}),
        ("The dog is on the person's right side.", {"dog right of person"}),
        ("The cat is slightly above the dog", {"cat above dog"}),
        ("a cat on top of a car", {"cat on car"}),
        ("a cat under a bed, next to a ball", {"cat below bed", "cat next to ball"}),
        (
            "The tie is beneath the umbrella and to the right of the person.",
            {"tie below umbrella", "tie right of person"},
        ),
        ("The cup is below both the knife and the fork.", {"cup below knife", "cup below fork"}),
        ("The cat and the dog are left of the bus.", {"cat left of bus", "dog left of bus"}),
        ("a toilet between a car and a truck", {"toilet between car", "toilet between truck"}),
        ("The fork is above the knife and the spoon is below the cup.", {"fork above knife", "spoon below cup"}),
        ("a cat,\nleft of a dog", {"cat left of dog"}),
        ("a black dog in front of a house", {"dog in front of house"}),
        ("a man wearing a hat and a scarf", {"man wearing hat", "man wearing scarf"}),
        ("a man riding a horse", {"man riding horse"}),
        ("a woman with an umbrella", {"woman with umbrella"}),
        ("a bowl of oranges", {"oranges in bowl"}),
    ],
)
def test_relations_between_named_things(text, expected):
    assert relations(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The plate was on the table, with a fork to its left.", {"plate on table", "fork left of plate"}),
        (
            "The person was standing with a dog to their right and a cat to their left.",
            {"dog right of person", "cat left of person"},
        ),
        ("The vase is left of the book, while a cup is above it.", {"vase left of book", "cup above book"}),
        (
            "The scissors are above the bear, with the clock to the left of them.",
            {"scissors above bear", "clock left of scissors"},
        ),
        ("The bus is red. A car is beneath it.", {"car below bus"}),
        ("The bus is left of a tree, and it is above a car.", {"bus left of tree", "bus above car"}),
        (
            "The person stands left of a car, with a bird hovering above them.",
            {"person left of car", "bird above person"},
        ),
        ("The elephant stands tall, with a horse at its feet.", {"horse below elephant"}),
        (
            "A person stands between a boat to the left and a car to the right.",
            {"person between boat", "person between car", "boat left of person", "car right of person"},
        ),
        (
            "The cow is left of the dog, with the giraffe towering over both of them.",
            {"cow left of dog", "giraffe above cow", "giraffe above dog"},
        ),
        (
            "The bear is left of the cow, and the dog is right of both.",
            {"bear left of cow", "dog right of bear", "dog right of cow"},
        ),
        (
            "A boat is parked between a car to its right and a bus to its left.",
            {"car right of boat", "bus left of boat"},
        ),
        ("The sheep is left of the bear, with a cat perched above it.", {"sheep left of bear", "cat above sheep"}),
        (
            "The apple is left of the cake, which is in turn left of the cup.",
            {"apple left of cake", "cake left of cup"},
        ),
        ("The person holds a kite above their head.", {"person holding kite", "kite above person"}),
        ("With a cat to its left, the dog stands above the sheep.", {"cat left of dog", "dog above sheep"}),
    ],
)
def test_pronouns(text, expected):
    assert relations(text) >= expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Above the knife, a glass was placed.", {"glass above knife"}),
        ("Below the person was a black plant.", {"plant below person"}),
        ("To the left of the bed is a couch, which is above a cat.", {"couch left of bed", "couch above cat"}),
        (
            "The cat is left of the dog, and to the right of the dog is a bird.",
            {"cat left of dog", "bird right of dog"},
        ),
        ("Perched atop the refrigerator is a toaster.", {"toaster on refrigerator"}),
        ("To the person's left is a dog.", {"dog left of person"}),
        ("On the left is a red car and on the right is a blue bus.", {"bus right of car"}),
        (
            "The bicycle is below the airplane, which is to the right of the person and above the train.",
            {"bicycle below airplane", "airplane right of person", "airplane above train"},
        ),
    ],
)
def test_places_that_come_first_and_relative_clauses(text, expected):
    assert relations(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a left shoe and a right shoe",
        "The dog turned left and the cat ran",
        "a cat and a dog in the street",
        "the top shelf and the bottom drawer",
    ],
)
def test_words_of_place_that_relate_nothing(text):
    assert relations(text) == set()


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            "a man wearing a blue shirt and a woman wearing a red dress",
            {"man wearing shirt", "woman wearing dress"},
        ),
        ("a bowl with apples and a plate with grapes", {"bowl with apples", "plate with grapes"}),
        ("a man wearing a hat and a blue scarf", {"man wearing hat", "man wearing scarf"}),
        ("a woman holding a cat and a book", {"woman holding cat", "woman holding book"}),
        ("a girl with a basket and a boy", {"girl with basket"}),
    ],
)
def test_what_is_described_alike_stands_side_by_side(text, expected):
    assert relations(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a corgi with cowboy hat riding a skateboard", {"corgi with cowboy hat", "corgi riding skateboard"}),
        ("a cat in a hat sitting on a mat", {"cat in hat", "cat on mat"}),
        ("a cat with a bow on a sofa", {"cat with bow", "cat on sofa"}),
        (
            "a woman holding a cat and a book sitting on a bench",
            {"woman holding cat", "woman holding book", "woman on bench"},
        ),
        ("a hedgehog with a backpack that is eating a pear", {"hedgehog with backpack", "hedgehog eating pear"}),
        ("a bird with a worm in its beak perched on a branch", {"bird holding worm", "bird on branch"}),
        ("a cat chased by a dog", {"dog chasing cat"}),
        ("a woman holding a cat sitting on a bench", {"woman holding cat", "woman on bench"}),
        ("a man next to a dog eating a bone", {"man next to dog", "dog eating bone"}),
        ("a man next to a boy with a cap", {"man next to boy", "boy with cap"}),
        ("a wizard's hat on a table", {"hat on table"}),
        ("a girl kisses a frog", {"girl kissing frog"}),
        ("1girl, twin tails, holding sword", {"girl holding sword"}),
        ("a fox reading a book under a tree", {"fox reading book", "fox below tree"}),
        ("a boy drawing a dinosaur on a blackboard", {"boy drawing dinosaur", "dinosaur on blackboard"}),
    ],
)
def test_what_is_done_is_done_by_who_can_do_it(text, expected):
    assert relations(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("left: a red apple, right: a green pear", {"pear right of apple"}),
        ("a cat left and a dog right", {"dog right of cat"}),
        ("[left] a dog [right] a cat", {"cat right of dog"}),
        ("the left girl, the right boy", {"girl left of boy"}),
        ("the left girl has red hair, the right girl has blue hair", {"girl left of girl", "girl with hair"}),
        ("left: a knight, center: a dragon", {"knight left of dragon"}),
        ("a cup at the top and a plate at the bottom", {"plate below cup"}),
        ("a sun in the top left corner and a boat in the bottom right corner", {"boat right of sun", "sun above boat"}),
        ("on the right side there is a tree, on the left side there is a house", {"house left of tree"}),
    ],
)
def test_sides_of_the_picture(text, expected):
    assert relations(text) == expected
