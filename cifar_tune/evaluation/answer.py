"""What a study says of its question: which model leads, by how much, and whether that is noise.

One record, made here for the report, for the study's note in the browser and for ``best show``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from cifar_tune.evaluation.wording import format_noise, round_up
from cifar_tune.wording import format_count, format_duration, format_percent

Basis = Literal["confirmation", "named", "sampled", "none"]
"""What was compared: a short list on fresh seeds, the named trials, the sampled ones, nothing."""
Finding = Literal["shown", "open", "noise", "alone", "chance", "none"]
"""``shown``: the leader is better than each of the others, by the rules of claims. ``open``: it
leads by more than noise, which is not shown yet. ``noise``: it leads by less. ``alone``: nothing
else is complete. ``chance``: no model is better than guessing. ``none``: no trial is complete."""

_NAMED_AT_CHANCE = 2
"""How many runs that are no better than guessing the sentence names."""
_EQUAL = 0.0005
"""A lead that is written as 0.0 points."""


@dataclass(frozen=True)
class ComparedModel:
    """A model, or a sampled trial, with its mean validation accuracy.

    Attributes:
        label: What it is called in a text.
        low: The lower end of the 95 % interval; for one seed that of the images alone (Wilson).
        high: The upper end of the interval.
    """

    name: str
    label: str
    trials: tuple[int, ...]
    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Settlement:
    """What would settle an open question.

    Attributes:
        seeds: How many seeds each model needs; None where no number of seeds is enough.
        images: How many validation images are needed, where there are too few; else None.
        trials: How many more trials that takes.
        seconds: How long those train, one after another.
        is_first: Whether so many seeds give only a first interval.
        command: The command that does it; empty where there is none.
        profile: The profile of the study file that has so many images; empty if none has.
        smallest_effect: The smallest lead that counts.
    """

    seeds: int | None
    images: int | None
    trials: int
    seconds: float
    is_first: bool
    command: str
    profile: str = ""
    smallest_effect: float = 0.01

    @property
    def sentence(self) -> str:
        """Say it in a sentence."""
        if self.images is not None:
            needed = f"about {round_up(self.images):,} are needed"
            more = f", as profile {self.profile} has" if self.profile else ""
            return f"No number of seeds decides it with so few validation images; {needed}{more}."
        if self.seeds is None:
            return "More seeds than can be planned for would be needed."
        gives = "give a first interval"
        if not self.is_first:
            gives = (
                "show with a probability of 80 % that it leads, or that it leads by less than "
                f"{100 * self.smallest_effect:.1f} points"
            )
        cost = f"{format_count(self.trials, 'more trial')}, about {format_duration(self.seconds)}"
        return f"{format_count(self.seeds, 'seed')} of each {gives}: {cost}."


@dataclass(frozen=True)
class Answer:
    """Which model leads by validation accuracy, by how much, and whether that is noise.

    Attributes:
        models: What was compared, as the study file has it; of sampled trials the best few, the
            best first.
        compared: How many there are in all.
        leader: The name of the one with the highest mean; empty if there is none.
        rival: The name of the next one.
        lead: By how much the leader leads it.
        low: The lower end of the lead's 95 % interval; None with one seed.
        high: The upper end of the interval.
        noise: The difference that two such models may show by chance (95 %); with one seed, from
            the images and the usual spread over seeds.
        seeds: The number of seeds that the two have in common.
        images: The number of validation images.
        chance: The accuracy of guessing; None where the number of classes is not known.
        at_chance: The runs that are no better than guessing.
        settlement: What would settle it; None where it is settled.
        best_sampled: The best complete trial of the search beside named trials; it is chosen as the
            highest, so it is too high on average.
    """

    finding: Finding
    basis: Basis = "none"
    models: tuple[ComparedModel, ...] = ()
    compared: int = 0
    leader: str = ""
    rival: str = ""
    lead: float | None = None
    low: float | None = None
    high: float | None = None
    noise: float | None = None
    seeds: int = 0
    images: int = 0
    chance: float | None = None
    at_chance: tuple[str, ...] = ()
    settlement: Settlement | None = None
    best_sampled: ComparedModel | None = None

    def find(self, name: str) -> ComparedModel:
        """Return one of the models by its name."""
        return next(model for model in self.models if model.name == name)

    @property
    def sentence(self) -> str:
        """Give the answer in one sentence."""
        if self.finding == "none":
            return "No trial is complete yet, so there is nothing to compare."
        text = f"{self._describe()}{self._describe_collapses()}."
        if self.basis == "confirmation":
            return f"On fresh seeds, {text}"
        # The name of a model keeps its first letter.
        return f"{text[0].upper()}{text[1:]}" if text.startswith(("trial ", "no ")) else text

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON has it."""
        return {"sentence": self.sentence, **asdict(self)}

    def _describe(self) -> str:
        leader = self.find(self.leader)
        name, mean = leader.label, format_percent(leader.mean)
        if self.finding == "chance":
            guessing = format_percent(self.chance or 0.0)
            return (
                f"no model is better than guessing ({guessing}): the best, {name}, reaches a "
                f"validation accuracy of {mean}"
            )
        if self.finding == "alone":
            ends = f"{100 * leader.low:.1f} to {100 * leader.high:.1f}"
            return (
                f"{name} reaches a validation accuracy of {mean} (95 % interval {ends}, "
                f"{self._describe_data()}); nothing else is complete to compare it with"
            )
        return self._describe_lead(leader)

    def _describe_lead(self, leader: ComparedModel) -> str:
        rival = self.find(self.rival)
        lead, noise = self.lead or 0.0, self.noise or 0.0
        by = f"{100 * lead:.1f} points"
        means = f"{100 * leader.mean:.1f} against {format_percent(rival.mean)} validation accuracy"
        if self.finding == "shown":
            ends = f"{100 * (self.low or 0.0):.1f} to {100 * (self.high or 0.0):.1f}"
            return (
                f"{leader.label} is the best of {self.compared}: it leads {rival.label} by {by} "
                f"({means}; 95 % interval of the lead {ends}, {self._describe_data()})"
            )
        leads = f"{leader.label} leads {rival.label} by {by} ({means})"
        if lead < _EQUAL:
            mean = format_percent(leader.mean)
            leads = f"{leader.label} and {rival.label} lead with {mean} validation accuracy each"
        least = f"about {format_noise(noise, lead)} points"
        if self.finding == "noise":
            return f"{leads}; differences below {least} are noise at {self._describe_data()}"
        why = "one seed does not show it" if self.seeds == 1 else "that is not shown yet"
        return f"{leads}, more than noise ({least} at {self._describe_data()}), but {why}"

    def _describe_data(self) -> str:
        seeds = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return f"{seeds} of {format_count(self.images, 'image')}"

    def _describe_collapses(self) -> str:
        if not self.at_chance or self.finding == "chance":
            return ""
        if len(self.at_chance) > _NAMED_AT_CHANCE:
            return f"; {len(self.at_chance)} runs are no better than guessing"
        verb = "is" if len(self.at_chance) == 1 else "are"
        return f"; {' and '.join(self.at_chance)} {verb} no better than guessing"
