"""Where reading stands within a sentence: the places that what comes next can be attached to."""

from __future__ import annotations

from dataclasses import dataclass, field

from .lexicon import PLACING
from .sentence import Sentence
from .things import Things

DIRECTIONS = frozenset({"left of", "right of", "above", "below"})


@dataclass(eq=False)
class Site:
    """Things named together, which a verb, a place or a "with" may be about.

    `by` is what brought them up: subject, with, verb, which, or complement (of a place: only a verb or "which" right
    after it is about those).
    """

    things: list[int]
    by: str


@dataclass
class Reading:
    """The state of reading. `sites` is the open edge of the sentence: the subject, what was said of it, what was said
    of that, and so on; what attaches to one closes those after it.
    """

    things: Things = field(default_factory=Things)
    number: int = -1  # of the sentence
    sentence: Sentence = field(default_factory=lambda: Sentence([]))
    sites: list[Site] = field(default_factory=list)
    subjects: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  # what the last "with" was about
    with_clause: bool = False  # whether it came after a comma
    actors: list[int] = field(default_factory=list)  # who does what the last verb says
    action: str = ""  # the last verb in its -ing form, if its object stands in this relation to the actors
    undergone: str = ""  # the same of a passive verb: "chased" by
    effect: bool = False  # whether the last verb's object may be an effect on the onlooker
    is_finite: bool = False  # whether the clause has its main verb
    relative: bool = False  # whether "who" or "that" waits for its verb
    aside: str = ""  # within words about an effect or a purpose
    is_bare: bool = False  # whether the subject stands alone so far, as in a list of tags
    pending: tuple[str, list[int] | None] | None = None  # a place that waits for what it is measured from
    completed: tuple[str, list[int] | None] = ("", [])  # the last one that got it
    fronted: list[tuple[str, list[int], tuple[str, ...]]] = field(default_factory=list)  # read before what is there
    foretold: list[tuple[str, list[int]]] = field(default_factory=list)  # "with a cat to its left, the dog …"
    agents: list[int] = field(default_factory=list)  # the last subject of the prompt that can act
    placed: dict[int, set[str]] = field(default_factory=dict)  # sides of the picture by thing

    def then(self, sentence: Sentence) -> Reading:
        """The state at the start of the next sentence."""
        return Reading(self.things, self.number + 1, sentence, agents=self.agents, placed=self.placed)

    @property
    def focus(self) -> list[int] | None:
        """What the next place is about; None if nothing has been named yet, [] if it is nothing that can be drawn."""
        site = self._focus_site()
        return None if site is None else site.things

    @property
    def introduced_by(self) -> str:
        site = self._focus_site()
        return "" if site is None else site.by

    def _focus_site(self) -> Site | None:
        return next((site for site in reversed(self.sites) if site.by != "complement"), None)

    def at_subject(self) -> None:
        """What comes next is about the subject again."""
        self.sites = [Site(self.subjects, "subject")]

    def at_site(self, site: Site) -> None:
        """What comes next is about a site on the open edge."""
        del self.sites[self.sites.index(site) + 1 :]
        if site.by == "complement":
            site.by = "which"

    def open(self, found: list[int], by: str, again: bool = False) -> None:
        """Opens a site; `again` says that the things join those of the last one."""
        if again and self.sites and self.sites[-1].by == by:
            self.sites[-1] = Site(self.sites[-1].things + found, by)
        else:
            self.sites.append(Site(found, by))

    def are_agents(self, found: list[int]) -> bool:
        return bool(found) and all(self.things[thing].is_agent for thing in found)

    def about(self, predicate: str) -> list[int]:
        """What a place or "with" is about: "holding a cup above" the cup, "reading a book in" the reader, "a cat with a
        bow on" the cat.
        """
        focus, by = self.focus or [], self.introduced_by
        if by == "verb" and self.subjects and predicate not in ("left of", "right of", "above"):
            if predicate not in ("on", "below") or self.action not in PLACING:
                return self.actors or self.subjects
        if by == "with" and predicate in ("on", "in", "next to") and not self.with_clause:
            if self.are_agents(self.owners) and not self.are_agents(focus):
                return self.owners
        return focus

    def main_subject(self, pronoun: str, fits) -> list[int]:
        """The subject of the clause that "…, with a cup to its left" belongs to; "a cup with a lid on it" has none."""
        if self.introduced_by != "with" or not self.with_clause:
            return []
        others = [thing for thing in self.subjects if thing not in (self.focus or [])]
        return [thing for thing in others if not pronoun or fits(pronoun, self.things[thing])][:1]

    def just_named(self, i: int, *roles: str) -> list[int] | None:
        """What a phrase right before chunk `i` names, out of focus and in one of these roles; None without one."""
        before = self.sentence.at(i - 1)
        if before is None or before.kind != "np" or before.role.removesuffix(" too") not in roles:
            return None
        if before.thing is None:
            return []
        return None if before.thing in (self.focus or []) else [before.thing]

    def named_last(self, i: int, but: list[int]) -> list[int]:
        """The thing named last before chunk `i`."""
        for item in reversed(self.sentence.items[max(0, i - 50) : i]):
            if item.kind == "np" and item.thing not in but:
                return [] if item.thing is None else [item.thing]
        return []
