"""Every call of the network in a run: which of its rows are whose, and which part of which picture they show.

The host runs conditionings side by side, areas as cut-out latents; its context windows and other packs' tiles cut the
batch or the picture further, each in a way of its own. What is certain whoever did it: the latent that the guider is
asked about, and the latent that the network gets. Where the one lies in the other is read off their numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import comfy.patcher_extension
import torch

from ...core.copies import CopiesToItself
from ...core.maps.transforms import plain
from ...core.maps.view import Place, place_of
from .rows_added import KEY as ADDED

KEY = "prompt_fidelity_calls"
NEGATIVE = 1  # the host's number of the negative prompt in `cond_or_uncond`


@dataclass
class Chunk:
    """The rows of one conditioning in a call: its `uuid`, and its `kind`, the host's number of the list it is in.

    `place` is what they show; None if that could not be found out.
    """

    rows: slice
    uuid: object
    kind: int
    place: Place | None = None


@dataclass
class Call:
    """One call: `shape` [rows, h, w] of its latent, its chunks in the order of their rows, and `context`, the tokens
    of the text that goes in (None if not known). `groups` are the tiles that another pack runs side by side.
    """

    shape: tuple[int, int, int]
    chunks: list[Chunk] = field(default_factory=list)
    context: int | None = None
    groups: int = 1

    @property
    def size(self) -> int:
        """Rows of one chunk."""
        return self.chunks[0].rows.stop - self.chunks[0].rows.start

    def rows_in_layer(self, count: int, options: dict) -> list[slice] | None:
        """The chunks' rows in a layer with `count` rows; None where another node has added some, not saying whose."""
        if 0 <= count - self.shape[0] <= options.get(ADDED, 0):  # rows of our own stand behind the others
            return [chunk.rows for chunk in self.chunks]
        couple = next((kinds for key, kinds in options.items() if str(key).endswith("cond_or_uncond_couple")), None)
        if not couple or self.groups != 1 or count != len(couple) * self.size:
            return None
        return _coupled([chunk.kind for chunk in self.chunks], list(couple), self.size)


def _coupled(kinds: list[int], couple: list[int], size: int) -> list[slice] | None:
    """Attention Couple puts the regions' rows behind those of the prompt they belong to: each prompt's own are the
    first of its kind's equal share.
    """
    rows, at = [], 0
    for kind in kinds:
        share, rest = divmod(couple.count(kind), kinds.count(kind))
        if rest or not share or couple[at : at + share] != [kind] * share:
            return None
        rows.append(slice(at * size, (at + 1) * size))
        at += share
    return rows


class Calls(CopiesToItself):
    """One run's view of its network calls."""

    def __init__(self) -> None:
        self._picture: torch.Tensor | None = None
        self._guided: torch.Tensor | None = None
        self._current: Call | None = None

    def begin(self, picture: torch.Tensor) -> None:
        """The solver is about to call its model with its latent [B, C, H, W]."""
        self._picture, self._guided = _cells(picture), None

    def install(self, model_options: dict) -> None:
        """Into the run's own copy of the options."""
        wrappers = comfy.patcher_extension.WrappersMP
        for kind, wrapper in ((wrappers.PREDICT_NOISE, self._predict_noise), (wrappers.APPLY_MODEL, self._apply_model)):
            comfy.patcher_extension.add_wrapper_with_key(kind, KEY, wrapper, model_options, is_model_options=True)

    def _predict_noise(self, executor, x, *args, **kwargs):
        """The host's PREDICT_NOISE wrapper: the latent that the conditionings are asked about, a mask mixed in."""
        self._guided = _cells(x)
        return executor(x, *args, **kwargs)

    def _apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, options=None, **more):
        """The host's APPLY_MODEL wrapper: the latent that the network gets. `options` are its transformer options."""
        options = more.pop("transformer_options", {}) if options is None else options
        before = self._current
        hosts = x.shape[0] - options.get(ADDED, 0)
        self._current = self._seen(_cells(x)[:hosts], options, c_crossattn)
        try:
            return executor(x, t, c_concat, c_crossattn, control, options, **more)
        finally:
            self._current = before

    def again(self) -> Callable[[], AbstractContextManager]:
        """What makes the call at work now the one at work at another time: when a part of it is run again."""
        call = self._current

        @contextmanager
        def as_it_was() -> Iterator[None]:
            before, self._current = self._current, call
            try:
                yield
            finally:
                self._current = before

        return as_it_was

    def of(self, options: dict) -> Call | None:
        """The call that a layer with the host's `options` is in; None if its rows are not as the host lays them out."""
        call, shape = self._current, options.get("original_shape")
        shape = None if shape is None else (shape[0], *shape[-2:])
        if call is not None and shape in (None, call.shape):
            return call if call.chunks else None
        # The network was called past the host's way in, or its latent was cut up behind it.
        return self._by_shape(shape, options)

    @property
    def _reference(self) -> torch.Tensor | None:
        picture, guided = self._picture, self._guided
        return guided if picture is None or (guided is not None and guided.shape == picture.shape) else picture

    def _by_shape(self, shape: tuple[int, int, int] | None, options: dict) -> Call | None:
        uuids, reference = options.get("uuids"), self._reference
        if not uuids or shape is None or reference is None:
            return None
        batch, height, width = reference.shape[0], *reference.shape[-2:]
        if shape[0] != len(uuids) * batch:
            return None
        place = Place.whole(batch, height, width) if shape[1:] == (height, width) else None
        return Call(shape, _chunks([batch] * len(uuids), options, [place] * len(uuids)))

    def _seen(self, x: torch.Tensor, options: dict, context: torch.Tensor | None) -> Call:
        """What a call shows; without chunks if its rows are not laid out in a way that is known."""
        call = Call((x.shape[0], *x.shape[-2:]), context=None if context is None else context.shape[1])
        uuids, reference = options.get("uuids") or (), self._reference
        if not uuids or reference is None or x.shape[0] % len(uuids):
            return call
        reference = reference.to(x.device)
        batch, size = reference.shape[0], x.shape[0] // len(uuids)
        if size > batch:
            return self._tiles(call, x, options, reference)
        places = [_place(part, reference) for part in x.split(size)]
        # Some images of the batch: then all conditionings see the same ones.
        if size == batch or (None not in places and len({place.images for place in places}) == 1):
            call.chunks = _chunks([size] * len(uuids), options, places)
        return call

    def _tiles(self, call: Call, x: torch.Tensor, options: dict, reference: torch.Tensor) -> Call:
        """Several tiles side by side, as TiledDiffusion runs them: [tiles × conditionings × batch] or
        [conditionings × tiles × batch] rows, told apart by which of them are equal.
        """
        count, batch = len(options["uuids"]), reference.shape[0]
        tiles, rest = divmod(x.shape[0], count * batch)
        if rest:
            return call
        by_tile = x.reshape(tiles, count, batch, *x.shape[1:])
        by_prompt = x.reshape(count, tiles, batch, *x.shape[1:])
        order = [(tile, prompt) for tile in range(tiles) for prompt in range(count)]
        if not torch.equal(by_tile, by_tile[:, :1].expand_as(by_tile)):
            order = [(tile, prompt) for prompt in range(count) for tile in range(tiles)]
            if not torch.equal(by_prompt, by_prompt[:1].expand_as(by_prompt)):
                return call
        call.groups = tiles
        places = [_place(part, reference) for part in x.split(batch)]
        prompts = [prompt for _, prompt in order]
        laid_out = {name: [options[name][prompt] for prompt in prompts] for name in ("uuids", "cond_or_uncond")}
        call.chunks = _chunks([batch] * len(prompts), laid_out, places)
        return call


def _cells(latent: torch.Tensor) -> torch.Tensor:
    """A latent's own values [B, C, H, W]; networks made for videos have a dimension for the one frame."""
    values = plain(latent.detach())
    return values[:, :, 0] if values.ndim == 5 else values


def _chunks(sizes: Sequence[int], options: dict, places: Sequence[Place | None]) -> list[Chunk]:
    """The host's layout: one conditioning after the other."""
    chunks, at = [], 0
    for size, uuid, kind, place in zip(sizes, options["uuids"], options["cond_or_uncond"], places):
        chunks.append(Chunk(slice(at, at + size), uuid, kind, place))
        at += size
    return chunks


def _place(part: torch.Tensor, reference: torch.Tensor) -> Place | None:
    """Where a chunk was cut from. One of the pictures' own size that was changed on the way shows them all the same."""
    place = place_of(part, reference)
    if place is None and part.shape[0] == reference.shape[0] and part.shape[-2:] == reference.shape[-2:]:
        return Place.whole(reference.shape[0], *reference.shape[-2:])
    return place


def named_neighbours(model_options: dict) -> str:
    """Who may have cut the latent up, for a sentence: " (…)" or nothing."""
    names = ["ComfyUI's context windows"] if model_options.get("context_handler") is not None else []
    for slot in ("model_function_wrapper", "sampler_calc_cond_batch_function"):
        one: Callable | None = model_options.get(slot)
        if one is not None:
            name = getattr(one, "__qualname__", type(one).__qualname__)
            names.append(name.split(".<locals>")[0])
    return f" ({', '.join(names)})" if names else ""
