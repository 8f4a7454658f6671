"""The average of the weights, the best ones and an early end are the same in two processes as in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import idemlab
from idemlab.runs.weights import read_weights

Make = Callable[..., dict[str, Any]]
Together = Callable[..., list[list[dict[str, Any]]]]


@pytest.mark.long
def test_average_best_weights_and_early_end_are_those_of_one_process(
    tmp_path: Path, tiny: Make, together: Together
) -> None:
    table = tiny(
        source={"name": "gaussian"},
        training__ema=0.9,
        training__best={"metric": "data/absolute", "maximize": True, "minimum_spread": 0.0},
        training__stop={"metric": "relative", "patience": 3, "margin": 1.0},
        training__log_every=2,
        evaluation__every=4,
    )
    whole = idemlab.train(table, tmp_path / "whole", progress=False)
    assert list(whole.certificates) == ["last", "ema", "best"]
    ways = {"copied": {}, "cut": {"sharded": True}}
    jobs = [{"table": table, "out": str(tmp_path / name), **way} for name, way in ways.items()]
    jobs += [job | {"out": f"{job['out']}, stopped", "stop": 10} for job in jobs]
    jobs += [job | {"resume": True, "stop": None} for job in jobs[2:]]
    notes = together(jobs)
    assert [note.get("error", "")[:21] for note in notes[0]] == ["", "", *["Interrupted: stopped "] * 2, "", ""]
    for name in ways:
        run, cut = idemlab.Run(tmp_path / name), idemlab.Run(tmp_path / f"{name}, stopped")
        for which in whole.certificates:
            assert run.certificates[which]["steps"] == whole.certificates[which]["steps"]
            weights, expected = read_weights(run.weights_of(which)), read_weights(whole.weights_of(which))
            assert weights.keys() == expected.keys()
            for key, value in expected.items():
                assert (weights[key] - value).norm() <= 1e-10 * value.norm()
            assert cut.weights_of(which).read_bytes() == run.weights_of(which).read_bytes()
