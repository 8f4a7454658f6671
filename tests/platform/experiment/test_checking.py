"""What may stand in the tables of an experiment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from idemlab import BadInput, Catalog, resolve

Table = dict[str, Any]
Write = Callable[[str, str], Path]
Refused = Callable[..., BadInput]


def test_the_least_experiment_is_completed(shop: Catalog, table: Table) -> None:
    assert resolve(table, catalog=shop).table() == {
        "summary": "",
        "dataset": {"name": "balls", "count": 8},
        "model": {"name": "net", "width": 16, "norm": "group"},
        "source": {"name": "data"},
        "enforcer": {"name": "none"},
        "reconstruction": {"weight": 1.0, "distance": "l2", "input": {"name": "data"}},
        "optimizer": {"name": "adam", "lr": 1e-3, "schedule": "constant", "warmup": 0.0, "final": 0.0, "clip": 0.0},
        "training": {
            "steps": 5,
            "batch_size": 64,
            "micro_batches": 1,
            "seed": 0,
            "dtype": "float32",
            "precision": "full",
            "compile": False,
            "log_every": 50,
            "checkpoint_every": 1000,
            "keep": 2,
            "ema": 0.0,
            "stop_on_collapse": False,
            "trackers": [],
        },
        "evaluation": {
            "every": 1000,
            "split": "test",
            "points": 1000,
            "batch_size": 250,
            "depth": 3,
            "rank_points": 8,
            "inputs": {"noise": {"name": "noise", "scale": 1.0, "shape": [2, 3]}},
            "metrics": [],
            "reject": 0.0,
        },
    }


@pytest.mark.parametrize(
    ("changes", "what", "where"),
    [
        ({"enforcers": {}}, "there is no key 'enforcers'", "key 'enforcers'"),
        ({"dataset": None}, "the table [dataset] is missing", ""),
        ({"model": None}, "the table [model] is missing", ""),
        ({"model": "nett"}, "there is no model 'nett'", "[model], key 'name'"),
        ({"model": {"width": 3}}, "a model is a table with a 'name', not {\"width\": 3}", "[model]"),
        ({"model": {"name": "net", "width": 0}}, "model 'net': 'width' cannot be 0", "[model], key 'width'"),
        ({"model": {"name": "net", "shape": [3]}}, "model 'net' has no argument 'shape'", "[model], key 'shape'"),
        ({"dataset": {"name": "balls", "cuont": 0}}, "dataset 'balls' has no argument 'cuont'", "[dataset], key 'cuont'"),
        ({"enforcer": "noise"}, "there is no enforcer 'noise' ('noise' is a source)", "[enforcer], key 'name'"),
        ({"source": []}, "'source' is empty", "[source]"),
        ({"source": "nois"}, "there is no source 'nois'", "[source], key 'name'"),
        ({"source": ["data", {"name": "noise", "scale": 0}]}, "source 'noise': 'scale' cannot be 0",
         "[source][1], key 'scale'"),
        ({"training": 3}, "'training' must be a table", "key 'training'"),
        ({"optimizer": ["adam"]}, "'optimizer' must be a table", "key 'optimizer'"),
        ({"training": {}}, "the length of the training is missing", "[training]"),
        ({"training": None}, "the length of the training is missing", "[training]"),
        ({"training": {"steps": 5, "flops": 1e9}}, "the length of the training is given twice", "[training]"),
        ({"training": {"steps": 5, "batch_size": 10, "micro_batches": 3}},
         "batch_size 10 cannot be cut into 3 equal micro_batches", "[training]"),
        ({"training": {"steps": "5"}}, "[training]: 'steps' cannot be \"5\"", "[training], key 'steps'"),
        ({"training": {"steps": True}}, "[training]: 'steps' cannot be true", "[training], key 'steps'"),
        ({"training": {"flops": float("inf")}}, "[training]: 'flops' cannot be Infinity: input should be a finite number",
         "[training], key 'flops'"),
        ({"training": {"steps": 5, "bath_size": 3}}, "[training] has no key 'bath_size'", "[training], key 'bath_size'"),
        ({"training": {"steps": 5, "trackers": ["wandb", "x"]}}, "there is no tracker 'x'",
         "[training], key 'trackers'[1], key 'name'"),
        ({"optimizer": {"lr": float("nan")}}, "[optimizer]: 'lr' cannot be NaN", "[optimizer], key 'lr'"),
        ({"optimizer": {"lr": float("inf")}}, "[optimizer]: 'lr' cannot be Infinity", "[optimizer], key 'lr'"),
        ({"optimizer": {"schedule": "cosin"}}, "there is no schedule 'cosin'", "[optimizer], key 'schedule', key 'name'"),
        ({"optimizer": {"betas": [0.9, float("nan")]}}, "[optimizer]: 'betas' cannot be [0.9, NaN]",
         "[optimizer], key 'betas'"),
        ({"optimizer": ""}, "there is no optimizer ''", "[optimizer], key 'name'"),
        ({"optimizer": {"name": "adan"}}, "there is no optimizer 'adan'", "[optimizer], key 'name'"),
        ({"optimizer": "LBFGS"}, "optimizer 'LBFGS' cannot be used: it evaluates", "[optimizer], key 'name'"),
        ({"optimizer": {"name": 3}}, "[optimizer]: 'name' cannot be 3", "[optimizer], key 'name'"),
        ({"optimizer": {"foo": 1}}, "optimizer 'adam' has no argument 'foo'", "[optimizer], key 'foo'"),
        ({"optimizer": {"params": []}}, "optimizer 'adam' has no argument 'params'", "[optimizer], key 'params'"),
        ({"optimizer": {"name": "SGD", "betas": [0.9, 0.99]}}, "optimizer 'sgd' has no argument 'betas'",
         "[optimizer], key 'betas'"),
        ({"optimizer": {"betas": 0.9}}, "optimizer 'adam': 'betas' cannot be 0.9", "[optimizer], key 'betas'"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer 'adam': 'betas'", "[optimizer], key 'betas'"),
        ({"optimizer": {"eps": "1e-8"}}, "optimizer 'adam': 'eps' cannot be \"1e-8\"", "[optimizer], key 'eps'"),
        ({"optimizer": {"name": "sgd", "nesterov": 1}}, "optimizer 'sgd': 'nesterov' cannot be 1",
         "[optimizer], key 'nesterov'"),
        ({"optimizer": {"adamw": {}}}, "optimizer 'adam' has no argument 'adamw'", "[optimizer], key 'adamw'"),
        ({"optimizer": {"name": "muon", "adamw": 3}}, "[optimizer]: 'adamw' cannot be 3", "[optimizer], key 'adamw'"),
        ({"optimizer": {"name": "muon", "adamw": {"beta": 3}}}, "optimizer 'adamw' has no argument 'beta'",
         "[optimizer], key 'adamw', key 'beta'"),
        ({"optimizer": {"name": "muon", "adamw": {"fused": "x"}}}, "optimizer 'adamw': 'fused' cannot be \"x\"",
         "[optimizer], key 'adamw', key 'fused'"),
        ({"enforcer": {"name": "pull", "weight": float("inf")}},
         "enforcer 'pull': 'weight' cannot be Infinity: input should be a finite number", "[enforcer], key 'weight'"),
        ({"source": {"name": "noise", "scale": float("nan")}}, "source 'noise': 'scale' cannot be NaN",
         "[source], key 'scale'"),
        ({"training": {"steps": 1000.0}}, "[training]: 'steps' cannot be 1000.0: input should be a valid integer",
         "[training], key 'steps'"),
        ({"training": {"steps": 1e300}}, "[training]: 'steps' cannot be 1e+300: a whole number has at most 64 bits",
         "[training], key 'steps'"),
        ({"training": {"steps": 2**63}}, "a whole number is too large", ""),
        ({"summary": object}, "<class 'object'> cannot be part of an experiment", ""),
        ({"summary": "\ud800"}, "'\\ud800' cannot be encoded as UTF-8", ""),
        ({"evaluation": {"inputs": {"x" * 81: "noise"}}}, f"'{'x' * 57}...' cannot be the name", "[evaluation.inputs]"),
        ({"evaluation": {"inputs": {3: "noise"}}}, "the key 3 is not text", ""),
        ({"reconstruction": {"weight": -1}}, "[reconstruction]: 'weight' cannot be -1", "[reconstruction], key 'weight'"),
        ({"reconstruction": {"input": "wron"}}, "there is no source 'wron'", "[reconstruction], key 'input', key 'name'"),
        ({"evaluation": {"points": 1}}, "[evaluation]: 'points' cannot be 1", "[evaluation], key 'points'"),
        ({"evaluation": {"inputs": {"data": "noise"}}}, "'data' is always evaluated", "[evaluation.inputs]"),
        ({"evaluation": {"inputs": ["noise"]}}, "[evaluation]: 'inputs' cannot be [\"noise\"]",
         "[evaluation], key 'inputs'"),
        ({"evaluation": {"inputs": {"x": {"name": "nois"}}}}, "there is no source 'nois'",
         "[evaluation.inputs], key 'x', key 'name'"),
        ({"evaluation": {"metrics": "error"}}, "[evaluation]: 'metrics' cannot be \"error\"",
         "[evaluation], key 'metrics'"),
        ({"evaluation": {"metrics": ["error", "eror"]}}, "there is no metric 'eror'",
         "[evaluation], key 'metrics'[1], key 'name'"),
        ({"summary": ["x"]}, "'summary' must be text", "key 'summary'"),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_is_told_with_its_file_and_key(
    changes: Table, what: str, where: str, table: Table, refused: Refused
) -> None:
    error = refused({key: value for key, value in (table | changes).items() if value is not None})
    assert error.what.startswith(what)
    assert error.where == (f"the given table, {where}" if where else "the given table")


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"enforcers": {}}, "enforcer"),
        ({"Training": {}}, "training"),
        ({"model": "nett"}, "net"),
        ({"training": {"steps": 5, "bath_size": 3}}, "batch_size"),
        ({"optimizer": {"schedule": "cosin"}}, "cosine"),
        ({"training": {"steps": 1e3}}, "1000"),
        ({"optimizer": "adan"}, "adam"),
        ({"optimizer": {"beta": 1}}, "betas"),
        ({"optimizer": {"warm_up": 0.1}}, "warmup"),
        ({"optimizer": {"name": "muon", "adamv": {}}}, "adamw"),
        ({"reconstruction": {"distance": "L2"}}, "l2"),
        ({"evaluation": {"metrics": ["eror"]}}, "error"),
    ],
    ids=str,
)
def test_the_nearest_match_is_named(changes: Table, nearest: str, table: Table, refused: Refused) -> None:
    assert refused(table | changes).nearest == nearest


def test_an_override_of_the_optimizer_is_named(table: Table, refused: Refused) -> None:
    error = refused(table, "optimizer.name=sgd", "optimizer.momntum=0.9")
    assert error.where == (
        "the given table with the overrides 'optimizer.name=sgd', 'optimizer.momntum=0.9', [optimizer], key 'momntum'"
    )
    assert error.nearest == "momentum"


@pytest.mark.parametrize("value", ["1e300", "1e19", "1e1000", "-1e300", "9_223_372_036_854_775_808.0"])
def test_a_whole_number_that_is_too_large_is_told_so(value: str, table: Table, refused: Refused) -> None:
    error = refused(table, f"training.steps={value}")
    assert error.what.endswith(": a whole number has at most 64 bits")
    assert error.where == f"the given table with the override 'training.steps={value}', [training], key 'steps'"
    assert error.nearest is None


def test_what_the_source_of_torch_says_is_what_torch_takes() -> None:
    """The checks read names and arguments from the source code, without importing torch. Compare them with torch's own."""
    import torch

    from idemlab.catalog import torch_optimizers as read

    base = torch.optim.Optimizer
    classes = {
        name: cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base
    }
    assert set(read.classes()) == set(classes)
    for name, cls in classes.items():
        signature = inspect.signature(cls).parameters
        assert set(read.arguments(name)) == set(signature) - {"params"}
        for key, argument in read.arguments(name).items():
            assert argument.type is not Any, f"{name}.{key}"
            assert argument.default == signature[key].default
            TypeAdapter(argument.type).validate_python(signature[key].default)


def test_other_keys_of_the_optimizer_are_arguments_of_its_class(shop: Catalog, table: Table) -> None:
    experiment = resolve(table | {"optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": True}}, catalog=shop)
    assert experiment.optimizer.model_extra == {"momentum": 0.9, "nesterov": True}
    assert experiment.table()["optimizer"]["momentum"] == 0.9
