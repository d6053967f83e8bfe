"""What the product's own recorded studies say of the noise of an accuracy.

``python tests/support/spread_over_seeds.py`` prints the constants of
``evaluation/ranking_prior.py``: the standard deviation over seeds of configurations that were
trained several times, and which shares of the binomial variance come from images that are easy for
one model alone, and from images on which seeds of one model disagree.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cifar_tune.evaluation.evidence import gather
from cifar_tune.evaluation.export.study import import_studies, read_export
from cifar_tune.storage.location import locate_storage

DATA = Path(__file__).parents[1] / "data"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """The validation accuracies of one configuration of a study, over seeds."""

    study: str
    name: str
    outcomes: tuple[float, ...]
    images: int

    @property
    def variance(self) -> float:
        """The sample variance over seeds."""
        return float(np.var(self.outcomes, ddof=1))


def recorded() -> Iterator[Spread]:
    """Yield each recorded configuration with several seeds."""
    curves = json.loads((DATA / "learning_curves.json").read_text(encoding="utf-8"))
    by_model = defaultdict(list)
    for trial in curves["trials"]:
        by_model[trial["model"]].append(trial["val_accuracy"][-1])
    for name, values in by_model.items():
        if name:
            yield Spread(curves["study"], name, tuple(values), 1_000)
    for path in sorted((DATA / "results").glob("*.json")):
        for study in json.loads(path.read_text(encoding="utf-8"))["studies"]:
            by_model = defaultdict(list)
            for trial in study["trials"]:
                model = str(trial["attributes"].get("name", "")).rpartition("/")[0]
                if trial["state"] == "complete" and model:
                    by_model[model].append(trial["value"])
            images = study["attributes"]["protocol"]["validation_images"]
            for name, values in by_model.items():
                if len(values) > 1:
                    yield Spread(study["study_name"], name, tuple(values), images)


def image_shares() -> tuple[float, float]:
    """Return the shares of the binomial variance: of a model's own images, and of disagreement."""
    export = read_export(DATA / "results" / "transfer.json")
    correct = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        location = locate_storage(f"{folder}/records.db")
        import_studies([export], location)
        evidence = gather(location, export.studies[0].study_name, "")
    for trial in evidence.trials:
        correct[trial.model].append(evidence.test[trial.number].correct.astype(float))
    own, disagreement = [], []
    for one, other in itertools.combinations(correct, 2):
        here, there = correct[one], correct[other]
        binomial = np.mean([values.var() for values in (*here, *there)])
        pairs = [pair for model in (here, there) for pair in itertools.combinations(model, 2)]
        same = np.mean([np.cov(*pair)[0, 1] for pair in pairs])
        between = np.mean([np.cov(*pair)[0, 1] for pair in itertools.product(here, there)])
        own.append((same - between) / binomial)
        disagreement.append(1 - same / binomial)
    return float(np.mean(own)), float(np.mean(disagreement))


def fit(spreads: Sequence[Spread]) -> tuple[float, float, float]:
    """Return what fits best: the median spread, and how studies and configurations scatter.

    The spread of a configuration is log-normal around that of its study, and that of a study
    log-normal around the median; the last two figures are standard deviations of logarithms.
    """
    logs = np.linspace(math.log(1e-4), math.log(0.5), 120)
    studies = list(dict.fromkeys(spread.study for spread in spreads))
    each = []
    for study in studies:
        parts = [spread for spread in spreads if spread.study == study]
        degrees = np.array([len(spread.outcomes) - 1 for spread in parts])[:, None]
        ratios = np.array([spread.variance for spread in parts])[:, None] / np.exp(2 * logs)
        each.append(np.exp(degrees / 2 * (1 + np.log(ratios) - ratios)))
    best = (-math.inf, 0.0, 0.0, 0.0)
    for within in np.arange(0.1, 2.01, 0.1):
        kernel = _normal(logs[:, None] - logs, within)
        of_studies = np.array([np.prod(part @ kernel.T, axis=0) for part in each])
        for between in np.arange(0.1, 2.01, 0.1):
            for centre in np.log(np.arange(0.001, 0.02, 0.0005)):
                prior = _normal(logs - centre, between)
                fitting = float(np.log(of_studies @ prior).sum())
                best = max(best, (fitting, math.exp(centre), float(between), float(within)))
    return best[1:]


def _normal(distances: Floats, sd: float) -> Floats:
    density = np.exp(-0.5 * (distances / sd) ** 2)
    normal: Floats = density / density.sum(axis=-1, keepdims=True)
    return normal


def describe() -> Iterator[str]:
    """Yield what is recorded, and what fits it, in lines."""
    own, disagreement = image_shares()
    yield "Shares of the binomial variance, by the answers on test images in transfer.json:"
    yield f"OWN_IMAGES = {own:.2f}; DISAGREEMENT = {disagreement:.2f}"
    spreads = list(recorded())
    for spread in spreads:
        yield (
            f"  {spread.study} {spread.name}: {len(spread.outcomes)} seeds, "
            f"{spread.images:,} images, sd {100 * math.sqrt(spread.variance):.2f} points"
        )
    median, between, within = fit(spreads)
    yield (
        f"{len(spreads)} configurations: SPREAD = {median:.4f}; of studies {between:.1f}; "
        f"of configurations {within:.1f}"
    )
    scatters = list(between_configurations())
    yield f"Configurations of a study scatter, in points: {_format_points(scatters)}"
    yield f"BETWEEN = {np.median(scatters):.2f}"


def between_configurations() -> Iterator[float]:
    """Yield by how much the means of the configurations of each recorded study scatter."""
    for path in sorted((DATA / "results").glob("*.json")):
        for study in json.loads(path.read_text(encoding="utf-8"))["studies"]:
            by_model = defaultdict(list)
            for trial in study["trials"]:
                name = str(trial["attributes"].get("name", "")).rpartition("/")[0]
                if trial["state"] == "complete":
                    by_model[name or str(trial["number"])].append(trial["value"])
            if len(by_model) > 2:
                yield float(np.std([np.mean(values) for values in by_model.values()], ddof=1))


def _format_points(fractions: Sequence[float]) -> str:
    return ", ".join(f"{100 * fraction:.2f}" for fraction in sorted(fractions))


if __name__ == "__main__":
    sys.stdout.write("\n".join(describe()) + "\n")
