"""Training data as latents, whole batches at a time on the device that trains.

Objects lie on the latent's own grid, boxes never overlap, and the picture's code is linear: so an object's cells are
the same sixteen numbers everywhere, plus the ground's colour times what shows through. They are computed once, and a
batch is a matter of putting cells into place (tests/core/test_tinyscenes_stream.py renders and encodes instead).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import data
from .components import CHANNELS, GRID, Components, patches

MOST = 3  # objects in a picture
TRIES = 64  # layouts drawn at once for each picture


@dataclass
class Batch:
    """What one step learns from; the last three describe the objects, only the evaluation looks at them.

    `latents` [b, 16, side, side]; `rows` [b, tokens] of the vocabulary; `corner` is where in the whole picture the
    window lies (row, column, in cells). `named` [b, 3]: whether there is such an object and the caption names it;
    `words` [b, 3]: its noun's place in the caption; `boxes` [b, 3, 4]: left, top, right, bottom in cells.
    """

    latents: Tensor
    rows: Tensor
    corner: tuple[int, int]
    named: Tensor
    words: Tensor
    boxes: Tensor


@dataclass
class Drawn:
    """The objects of a batch: each [b, 3], `there` for as many as the picture has; sizes and places in cells."""

    there: Tensor
    noun: Tensor
    colour: Tensor  # 0 is the emoji's own
    size: Tensor
    x: Tensor
    y: Tensor


class Stream:
    """Batches of scenes. `rows_of(captions)` gives vocabulary rows [n, tokens], as the host's tokenizer cuts them."""

    def __init__(self, code: Components, rows_of: Callable[[list[str]], Tensor], device: torch.device | str):
        self.device = torch.device(device)
        self._cells(code)
        self._words(rows_of)

    def batch(
        self, seed: int, step: int, side: int, count: int, counts: tuple[float, ...], plain: float, empty: float
    ) -> Batch:
        """The batch of one step, the same for the same seed and step on the same kind of device. `counts` are the
        shares of pictures with one, two, three objects; `plain` that of objects without a colour word; `empty` that
        of captions left empty.
        """
        generator = torch.Generator(self.device).manual_seed(seed * 1_000_003 + step)
        drawn = self._draw(generator, side, count, counts, plain)
        rows, words = self._captions(drawn)
        silent = self._random(generator, count) < empty
        rows = torch.where(silent[:, None], self.silence, rows)
        corner = (0, 0)
        if side < GRID:
            row, column = np.random.default_rng([seed, step]).integers(0, GRID - side + 1, 2).tolist()
            corner = (row, column)
        boxes = torch.stack([drawn.x, drawn.y, drawn.x + drawn.size, drawn.y + drawn.size], -1)
        latents = self._latents(drawn, self._grounds(generator, count), side)
        return Batch(latents, rows, corner, drawn.there & ~silent[:, None], words, boxes)

    # --- what is drawn

    def _random(self, generator: torch.Generator, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=self.device)

    def _draw(
        self, generator: torch.Generator, side: int, count: int, counts: tuple[float, ...], plain: float
    ) -> Drawn:
        shares = torch.tensor(counts, device=self.device).cumsum(0)[:-1]
        objects = 1 + (self._random(generator, count, 1) >= shares).sum(1)
        there = torch.arange(MOST, device=self.device) < objects[:, None]
        noun = self._random(generator, count, len(data.NOUNS)).argsort(1)[:, :MOST]
        colour = 1 + self._random(generator, count, len(data.COLOURS)).argsort(1)[:, :MOST]
        colour = torch.where(self._random(generator, count, MOST) < plain, 0, colour)
        size, x, y = self._place(generator, side, objects, there)
        return Drawn(there, noun, colour, size, x, y)

    def _place(
        self, generator: torch.Generator, side: int, objects: Tensor, there: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sizes and places in cells, each [b, 3]: of many random layouts the first in which no two boxes meet."""
        sizes = torch.tensor(data.SIZES, device=self.device) // data.CELL
        found = None
        while True:
            shape = (len(objects), TRIES, MOST)
            size = sizes[(self._random(generator, *shape) * len(sizes)).long()]
            size = torch.where(objects[:, None, None] < 3, size, sizes[0])
            x, y = ((self._random(generator, *shape) * (side - size + 1)).long() for _ in range(2))
            meet = torch.zeros(shape[:2], dtype=torch.bool, device=self.device)
            for a in range(MOST):
                for b in range(a):
                    apart = (x[..., a] >= x[..., b] + size[..., b]) | (x[..., b] >= x[..., a] + size[..., a])
                    apart |= (y[..., a] >= y[..., b] + size[..., b]) | (y[..., b] >= y[..., a] + size[..., a])
                    meet |= ~apart & (there[:, a] & there[:, b])[:, None]
            good = (~meet).any(1)
            first = (~meet).int().argmax(1)[:, None, None].expand(-1, 1, MOST)
            chosen = tuple(value.gather(1, first)[:, 0] for value in (size, x, y))
            if found is None:
                found, done = chosen, good
            else:
                found = tuple(torch.where(done[:, None], old, new) for old, new in zip(found, chosen))
                done = done | good
            if bool(done.all()):
                return found

    def _grounds(self, generator: torch.Generator, count: int) -> Tensor:
        """Colours [b, 3] in 0..1: data.ground."""
        shade = self._random(generator, count, 1) * 10.0 - 5.0
        which = (self._random(generator, count) * len(data.GROUNDS)).long()
        return (torch.tensor(data.GROUNDS, device=self.device)[which] + shade) / 255.0

    # --- as latents

    def _cells(self, code: Components) -> None:
        """`paint` [nouns, colours, sizes, 7 * 7, 16] and `through` [nouns, sizes, 7 * 7, 3, 16]: an object's cells on
        a ground of colour g are paint + g through; `blank` [16] and `clear` [3, 16] are those of no object.
        """
        tall = max(data.SIZES) // data.CELL
        basis = (code.basis / code.scale[:, None]).T  # [192, 16]
        nothing = code.mean @ basis

        def cells(picture: np.ndarray) -> np.ndarray:
            side = picture.shape[0] // data.CELL
            padded = np.zeros((tall, tall, 3 * data.CELL**2), dtype=np.float32)
            padded[:side, :side] = patches(picture[None]).reshape(side, side, -1)
            return padded.reshape(tall * tall, -1) @ basis

        colours = (data.OWN, *data.COLOURS)
        paint = np.zeros((len(data.NOUNS), len(colours), len(data.SIZES), tall * tall, CHANNELS), dtype=np.float32)
        through = np.zeros((len(data.NOUNS), len(data.SIZES), tall * tall, 3, CHANNELS), dtype=np.float32)
        for n, noun in enumerate(data.NOUNS):
            for s, size in enumerate(data.SIZES):
                for c, colour in enumerate(colours):
                    shown, gaps = data.stamps()[noun, colour, size]
                    paint[n, c, s] = cells(shown) - nothing
                for channel in range(3):
                    one = np.zeros((size, size, 3), dtype=np.float32)
                    one[..., channel] = gaps[..., 0]
                    through[n, s, :, channel] = cells(one)
        clear = np.stack([cells(np.eye(3, dtype=np.float32)[c] * np.ones((8, 8, 3), np.float32))[0] for c in range(3)])
        self.paint, self.through, self.blank, self.clear = (
            torch.from_numpy(np.asarray(value, dtype=np.float32)).to(self.device)
            for value in (paint, through, -nothing, clear)
        )
        self.tall = tall

    def _latents(self, drawn: Drawn, grounds: Tensor, side: int) -> Tensor:
        """Latents [b, 16, side, side] of the objects on grounds [b, 3]."""
        count, tall, device = len(grounds), self.tall, self.device
        latents = (self.blank + grounds @ self.clear)[:, None, None].repeat(1, side, side, 1)
        large = (drawn.size == tall).long()
        own = self.paint[drawn.noun, drawn.colour, large]  # [b, 3, 49, 16]
        own = own + torch.einsum("bc,bockf->bokf", grounds, self.through[drawn.noun, large].transpose(2, 3))
        line = torch.arange(tall, device=device)
        row = line[:, None].expand(tall, tall).flatten()
        column = line[None].expand(tall, tall).flatten()
        inside = drawn.there[..., None] & (row < drawn.size[..., None]) & (column < drawn.size[..., None])
        image = torch.arange(count, device=device)[:, None, None].expand_as(inside)
        at = image[inside], (drawn.y[..., None] + row)[inside], (drawn.x[..., None] + column)[inside]
        latents[at] = own[inside]
        return latents.permute(0, 3, 1, 2).contiguous()

    # --- captions

    def _words(self, rows_of: Callable[[list[str]], Tensor]) -> None:
        """The vocabulary rows of every word that data.caption_of uses, read off captions that hold it."""

        def word(text: str, place: int) -> int:
            return int(rows_of([text])[0, place])

        colours, nouns = list(data.COLOURS), list(data.NOUNS)
        self.silence = rows_of([""])[0].to(self.device)
        self.start, self.end = int(self.silence[0]), word("a cat", 3)
        self.articles = {name: word(f"{name} cat", 1) for name in ("a", "an")}
        self.joins = {"and": word("a cat and a dog", 3), ",": word("a cat, a dog and a bear", 3)}
        self.noun_rows = torch.tensor([word(noun, 1) for noun in nouns], device=self.device)
        self.colour_rows = torch.tensor([-1, *(word(colour, 1) for colour in colours)], device=self.device)
        self.vowels = tuple(
            torch.tensor([text[:1] in tuple("aeiou") for text in texts], device=self.device)
            for texts in (nouns, ["", *colours])
        )

    def _captions(self, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Vocabulary rows [b, tokens] of data.caption_of, and each noun's place in them [b, 3].

        Words are written into fixed slots, join, article, colour, noun for each object, and moved together.
        """
        absent = torch.full_like(drawn.noun, -1)
        of_noun, of_colour = self.vowels
        vowel = torch.where(drawn.colour == 0, of_noun[drawn.noun], of_colour[drawn.colour])
        article = torch.where(vowel, self.articles["an"], self.articles["a"])
        last = torch.arange(MOST, device=self.device) == drawn.there.sum(1, keepdim=True) - 1
        join = torch.where(last, self.joins["and"], self.joins[","])
        join = torch.where(torch.arange(MOST, device=self.device) == 0, absent, join)
        slots = torch.stack([join, article, self.colour_rows[drawn.colour], self.noun_rows[drawn.noun]], -1)
        slots = torch.where(drawn.there[..., None], slots, -1).flatten(1)  # [b, 12]
        start, end = (torch.full_like(slots[:, :1], value) for value in (self.start, self.end))
        slots = torch.cat([start, slots, end], 1)
        place = (slots >= 0).cumsum(1) - 1
        rows = self.silence.repeat(len(slots), 1)
        rows[:, 1:] = self.end
        image = torch.arange(len(slots), device=self.device)[:, None].expand_as(slots)
        written = slots >= 0
        rows[image[written], place[written]] = slots[written]
        return rows, place[:, 4:-1:4]
