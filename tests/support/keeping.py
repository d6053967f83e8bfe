"""Studies with a policy of which weights are kept."""

from __future__ import annotations

from typing import Any

from cifar_tune.config.study_file import StudySpec, load_study_file, resolve


def make_spec(**policy: Any) -> StudySpec:
    """Return a study of that policy; without any it keeps nothing, with room for everything."""
    nothing = {"keep_weights": "none", "keep_best": 0, "keep_gigabytes": 10.0}
    return resolve(load_study_file("dropout"), "quick").with_profile(**{**nothing, **policy})
