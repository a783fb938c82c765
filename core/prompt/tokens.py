"""Words -> positions on the text encoder's token axis.

The tokenizer's pieces are matched with the clean text letter by letter, as bytes, so that it doesn't matter how it cuts
words, changes case or normalises characters.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from . import Prompt, Scene, parse_weights
from .scene import Span
from .syntax import find_embeddings
from .targets import Attribute, Relation, Stretch, Target, Targets

_END_OF_WORD = "</w>"  # CLIP
_START_OF_WORD = "▁"  # sentencepiece
_RAW_BYTE = re.compile("<0x[0-9A-F]{2}>")  # sentencepiece's way to write what it can't spell
_LOOK_AHEAD = 400  # bytes searched for the next match where text and pieces differ
_ANCHOR = 6  # bytes that must agree there
_STEP = 8  # bytes that may be passed over to match a piece of one or two bytes


def align(
    clean_text: str,
    pieces: Sequence[str | None],
    word_ids: Sequence[int] | None = None,
    embeddings: Sequence[Span] | None = None,
) -> list[Span | None]:
    """The characters [start, end) of `clean_text` that each content token spells; None if there are none.

    `pieces` are vocabulary strings (CLIP's "cat</w>", GPT-2's "Ġcat", sentencepiece's "▁cat"), None for a vector of an
    embedding: it gets the span of its `embedding:name` word. `word_ids` tell two neighbouring embeddings apart.
    `embeddings` are the spans of those words (default: found in the text). Text that the tokenizer dropped and pieces
    that are not in the text are passed over. Never raises.
    """
    embeddings = find_embeddings(clean_text) if embeddings is None else list(embeddings)
    embedding_starts = [start for start, _ in embeddings]
    # sentencepiece's vocabularies are made from compatibility forms ("ﬁ" is "fi"), the others from composed letters
    form = "NFKC" if _is_sentencepiece(pieces) else "NFC"
    letters, places = _text_bytes(clean_text, form)
    spans: list[Span | None] = []
    at = 0  # next byte of the text
    previous: tuple[Span | None, int | None] = (None, None)
    all_spelled = _piece_bytes(pieces)
    for index, spelled in enumerate(all_spelled):
        if spelled is None:
            word = word_ids[index] if word_ids is not None else None
            if index == 0 or pieces[index - 1] is not None or word != previous[1]:
                here = places[at][0] if at < len(places) else len(clean_text)
                coming = bisect_left(embedding_starts, here)
                previous = (embeddings[coming] if coming < len(embeddings) else None, word)
            spans.append(previous[0])
            if previous[0] is not None:
                while at < len(places) and places[at][0] < previous[0][1]:
                    at += 1
            continue
        if not spelled:
            spans.append(None)
            continue
        if letters[at : at + len(spelled)] != spelled:
            found = _resume(letters, at, spelled, _until_vector(all_spelled[index : index + _ANCHOR]))
            if found is None:
                spans.append(None)
                continue
            at = found
        end = min(at + len(spelled), len(places))
        spans.append((places[at][0], places[end - 1][1]))
        at = end
    return spans


def _resume(letters: bytes, at: int, spelled: bytes, rest: bytes) -> int | None:
    """Where the piece stands from byte `at` on, judged by it and what follows it; None if the text hasn't got it."""
    for anchor in (rest[: max(_ANCHOR, len(spelled))], spelled):
        found = letters.find(anchor, at, at + _LOOK_AHEAD)
        if found >= 0 and (len(anchor) >= 3 or found - at <= _STEP):
            return found
    return None


def _until_vector(spelled: Sequence[bytes | None]) -> bytes:
    """The bytes of a few pieces, up to the next embedding."""
    return b"".join(spelled[: spelled.index(None)] if None in spelled else spelled)


def _text_bytes(text: str, form: str) -> tuple[bytes, list[Span]]:
    """The letters of the text as the tokenizers see them, without spaces, and the characters each byte comes from."""
    letters, places = bytearray(), []
    start = 0
    while start < len(text):
        end = start + 1
        # A letter and its combining marks may be one character to the tokenizer (NFC).
        while end < len(text) and (unicodedata.combining(text[end]) or "\u1160" <= text[end] <= "\u11ff"):
            end += 1
        encoded = _normal(text[start:end], form).encode("utf-8", "replace")
        letters += encoded
        places += [(start, end)] * len(encoded)
        start = end
    return bytes(letters), places


def _normal(characters: str, form: str = "NFC") -> str:
    """Lower case, no spaces or control characters; one form of sigma (its lower case depends on its place)."""
    characters = unicodedata.normalize(form, characters).lower().replace("ς", "σ")
    return "".join(
        c for c in characters if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf", "Cs") or c == "\u200d"
    )


def _is_sentencepiece(pieces: Sequence[str | None]) -> bool:
    return any(piece is not None and _START_OF_WORD in piece for piece in pieces)


def _piece_bytes(pieces: Sequence[str | None]) -> list[bytes | None]:
    """The bytes that each piece stands for, normalised as the text is."""
    of_byte = _byte_of_character()
    is_sentencepiece = _is_sentencepiece(pieces)
    result: list[bytes | None] = []
    for piece in pieces:
        if piece is None:
            result.append(None)
            continue
        piece = piece.removesuffix(_END_OF_WORD)
        if is_sentencepiece or any(character not in of_byte for character in piece):
            if _RAW_BYTE.fullmatch(piece):
                result.append(bytes([int(piece[3:5], 16)]))
            else:
                result.append(_normal(piece.replace(_START_OF_WORD, "")).encode("utf-8", "replace"))
        else:
            raw = bytes(of_byte[character] for character in piece)
            try:
                result.append(_normal(raw.decode("utf-8")).encode("utf-8"))
            except UnicodeDecodeError:
                result.append(raw)  # part of a character, such as a half of an emoji
    return result


@cache
def _byte_of_character() -> dict[str, int]:
    """Byte-level BPE writes every byte as a visible character: itself if printable Latin-1, else one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(0x100 + i): byte for i, byte in enumerate(others)}}


def readable(piece: str | None, text: str) -> str:
    """What the artist reads for a token: the piece's letters, or `text` if it is part of a character."""
    if piece is None:
        return text
    spelled = _piece_bytes([piece])[0]
    try:
        return spelled.decode("utf-8")
    except UnicodeDecodeError:
        return text


class _Places:
    """Which tokens spell which characters. The tokens come in the order of what they spell, so a search by halves finds
    those of a span.
    """

    def __init__(self, positions: Sequence[int], spans: Sequence[Span | None]) -> None:
        placed = [(position, span) for position, span in zip(positions, spans, strict=True) if span is not None]
        self.positions = [position for position, _ in placed]
        self.starts = [start for _, (start, _) in placed]
        self.ends = [end for _, (_, end) in placed]

    def of(self, spans: Sequence[Span]) -> tuple[int, ...]:
        """Positions of the tokens that spell any character of `spans`, in order."""
        found: set[int] = set()
        for start, end in spans:
            found.update(self.positions[bisect_right(self.ends, start) : bisect_left(self.starts, end)])
        return tuple(sorted(found))


@dataclass(frozen=True)
class Reading:
    """The prompt's own tokens in one text encoder: no start, end or padding, nothing of a template.

    `pieces` are vocabulary strings (None: an embedding's vector), `words` the host's word ids. `columns` are the
    tokens' places on the token axis, None for those that don't reach the attention. `knows_weights` says whether
    brackets and weights were taken out before; otherwise they are spelled by tokens like all the rest.
    """

    pieces: Sequence[str | None]
    words: Sequence[int]
    columns: Sequence[int | None]
    knows_weights: bool = True

    def spans(self, prompt: Prompt, text: str) -> list[Span | None]:
        """The characters of `text` that each token spells: the clean text of `prompt`, unless that was changed."""
        if text != prompt.text:
            return align(text, self.pieces, self.words)
        if self.knows_weights:
            return align(text, self.pieces, self.words, prompt.embeddings)
        spans = align(prompt.literal, self.pieces, self.words)
        return [None if span is None else prompt.from_literal(span) for span in spans]


def build_targets(
    prompt_text: str, scene: Scene, readings: Sequence[Reading], stretches: Sequence[Stretch] = ()
) -> Targets:
    """Puts a scene on the token axis.

    `prompt_text` is the prompt as typed, `scene` what was found in its clean text, `readings` its tokens in each
    encoder that the network attends to, `stretches` the whole token axis. Where two encoders share a column (those of
    SDXL), the first names its piece. An object whose name has no token (cut off by the encoder) is left out, with its
    relations.
    """
    prompt = parse_weights(prompt_text)
    axes: list[_Places] = []
    spelled: dict[int, str] = {}
    for reading in readings:
        placed = []
        for piece, column, span in zip(reading.pieces, reading.columns, reading.spans(prompt, scene.text), strict=True):
            if column is not None:
                spelled.setdefault(column, readable(piece, scene.text[slice(*span)] if span else ""))
                placed.append((column, span))
        axes.append(_Places([column for column, _ in placed], [span for _, span in placed]))

    def positions_of(spans: Sequence[Span]) -> tuple[int, ...]:
        return tuple(sorted({position for places in axes for position in places.of(spans)}))

    objects: list[Target] = []
    index_of: dict[int, int] = {}
    for index, thing in enumerate(scene.objects):
        positions = positions_of(thing.spans)
        if positions:
            index_of[index] = len(objects)
            attributes = [Attribute(a.text, positions_of(a.spans)) for a in thing.attributes]
            objects.append(Target(thing.name, thing.phrase, positions, tuple(a for a in attributes if a.positions)))
    relations = [
        Relation(index_of[r.subject], r.predicate, index_of[r.object])
        for r in scene.relations
        if r.subject in index_of and r.object in index_of
    ]
    alike = len({(stretch.length, stretch.tensor, stretch.encoder) for stretch in stretches}) <= 1
    return Targets(
        prompt=prompt_text,
        objects=tuple(objects),
        relations=tuple(relations),
        content=tuple(sorted(spelled)),
        pieces=tuple(spelled[column] for column in sorted(spelled)),
        length=sum(stretch.length for stretch in stretches),
        chunk=stretches[0].length if stretches and alike else 0,
        notes=scene.notes,
        spans=() if alike else tuple(stretches),
    )
