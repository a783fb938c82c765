"""How much of a prompt is read, so that no prompt takes longer than a moment."""

MOST_WORDS = 1500  # words and marks; text encoders read a few hundred
MOST_THINGS = 100  # objects; no picture shows more that a prompt could place
MOST_RELATIONS = 400
