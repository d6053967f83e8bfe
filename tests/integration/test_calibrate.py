"""``cifar-tune calibrate``: verdicts are as often wrong as they are said to be."""

from __future__ import annotations

from command_line import Cli


def test_calibration_holds(cli: Cli) -> None:
    """The README has it with more rounds."""
    answer = cli("calibrate", "--rounds", "40", "--json")
    assert answer.code == 0, [one for one in answer.record["figures"] if not one["holds"]]
    figures = answer.record["figures"]
    assert {one["family"] for one in figures} == {1, 6, 20}
    assert {3, 5, 10} <= {one["seeds"] for one in figures}
