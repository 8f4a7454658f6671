"""A model starts from weights of an earlier run or a file, and parts of it stay as they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import idemlab
from idemlab import BadInput, EnforcerKind, EnforcerSpec, Interrupted, ModelSpec, Traits, Watcher
from idemlab.catalog.catalog import Catalog
from idemlab.objective.parts import assemble
from idemlab.system.files import sha256

Make = Callable[..., dict[str, Any]]


class Stop(Watcher):
    def stepped(self, step: int) -> None:
        if step == 5:
            raise Interrupted("")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be written to."""
    table = {
        "dataset": {"name": "gaussian", "shape": [4], "train": 64, "test": 32},
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "training": {"steps": 3, "batch_size": 16, "seed": 5},
        "evaluation": {"rank_points": 0},
    }
    return idemlab.train(table, tmp_path_factory.mktemp("earlier") / "run", progress=False).path


def started(table: dict[str, Any], catalog: Catalog | None = None) -> dict[str, Tensor]:
    return assemble(idemlab.resolve(table, catalog=catalog)).objective.operator.state_dict()


def check_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# -- where it starts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "file", "half", "double"])
def test_a_model_starts_from_a_run_or_a_file(kind: str, earlier: Path, tmp_path: Path, tiny: Make) -> None:
    weights = load_file(earlier / "operator.safetensors")
    given = earlier if kind == "run" else tmp_path / "given.safetensors"
    convert = {"half": torch.Tensor.half, "double": torch.Tensor.double}.get(kind, torch.Tensor.clone)
    if kind != "run":
        save_file({name: convert(t) for name, t in weights.items()}, given)
    expected = {name: convert(t).float() for name, t in weights.items()}
    check_equal(started(tiny(model__weights=str(given))), expected)


def test_a_path_is_relative_to_the_experiment_file(
    earlier: Path, tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    shutil.copytree(earlier, home / "runs" / "earlier")
    (home / "mine.toml").write_text(tomli_w.dumps(tiny(model__weights="runs/earlier")))
    monkeypatch.chdir(elsewhere)
    experiment = idemlab.resolve(home / "mine.toml")
    assert experiment.table()["model"]["weights"] == str(home / "runs" / "earlier")
    check_equal(assemble(experiment).objective.operator.state_dict(), load_file(earlier / "operator.safetensors"))
    (home / "mine.toml").write_text(tomli_w.dumps(tiny(model__weights="runs/earlyer")))
    with pytest.raises(BadInput, match="there are no weights") as caught:
        assemble(idemlab.resolve(home / "mine.toml"))
    assert caught.value.nearest == str(home / "runs" / "earlier")


class Around(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.gain = network, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.network(x)  # type: ignore[no-any-return]


class Wrapping(idemlab.Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Around(operator)


class Replacing(idemlab.Enforcer):
    def wrap(self, operator: nn.Module) -> nn.Module:
        return Around(nn.Sequential(nn.Linear(4, 4)))


def wrapping() -> idemlab.Enforcer:
    return Wrapping()


def replacing() -> idemlab.Enforcer:
    return Replacing()


def including(*factories: Callable[[], idemlab.Enforcer]) -> Catalog:
    catalog = idemlab.installed()
    for factory in factories:
        traits = Traits(kinds=frozenset({EnforcerKind.ARCHITECTURE}))
        catalog = catalog.including(EnforcerSpec(name=factory.__name__, factory=factory, summary="s", traits=traits))
    return catalog


def test_a_run_gives_the_model_inside_its_operator(tmp_path: Path, tiny: Make) -> None:
    catalog = including(wrapping, replacing)
    table = tiny(enforcer={"name": "wrapping"}, training__steps=2)
    run = idemlab.train(table, tmp_path / "run", progress=False, catalog=catalog)
    trained = load_file(run.weights_file)
    inside = {name.removeprefix("network."): t for name, t in trained.items() if name.startswith("network.")}
    assert len(inside) == len(trained) - 1
    check_equal(started(tiny(model__weights=str(run.path))), inside)
    assert float(trained["gain"]) != 1.0
    again = started(tiny(model__weights=str(run.path), enforcer={"name": "wrapping"}), catalog)
    check_equal(again, trained)
    lost = idemlab.train(
        tiny(enforcer={"name": "replacing"}, training__steps=2), tmp_path / "lost", progress=False, catalog=catalog
    )
    with pytest.raises(BadInput, match="own weights cannot be extracted"):
        started(tiny(model__weights=str(lost.path)))


def test_what_an_enforcer_adds_starts_from_weights_that_fit_and_else_it_is_told(tmp_path: Path, tiny: Make) -> None:
    """A section of rank 2 starts from one of rank 2; from another, or from the model alone, it begins anew."""

    def section(rank: int, **more: Any) -> dict[str, Any]:
        return tiny(enforcer={"name": "section", "rank": rank}, optimizer={"name": "sgd", "lr": 0.5}, **more)

    first = idemlab.train(section(2, training__steps=2), tmp_path / "run", progress=False)
    weights = load_file(first.weights_file)
    check_equal(started(section(2, model__weights=str(first.path))), weights)
    save_file(
        {n.removeprefix("network."): t for n, t in weights.items() if n.startswith("network.")},
        tmp_path / "bare.safetensors",
    )

    def told(table: dict[str, Any]) -> str:
        parts = assemble(idemlab.resolve(table))
        inside = {n: t for n, t in parts.objective.operator.state_dict().items() if n.endswith("weight")}
        assert all(torch.equal(t, weights[n if n in weights else f"network.{n}"]) for n, t in inside.items())
        return parts.remark

    anew = "what enforcer 'section' adds to the model (log_width, basis, centre and 1 more) starts anew: "
    bare, run = str(tmp_path / "bare.safetensors"), str(first.path)
    assert told(section(2, model__weights=run)) == ""
    assert told(section(2, model__weights=bare)) == f"{anew}'{bare}' has no weights for it"
    assert told(section(1, model__weights=run)) == f"{anew}the weights for it in '{run}' do not fit"
    assert told(tiny(model__weights=run)) == (
        f"of the weights in '{run}', only those of the model are used, not what an enforcer had added to it "
        "(basis, centre, log_width and 1 more)"
    )
    assert told(tiny(model__weights=bare)) == ""
    messages: list[str] = []

    class Hearing(Watcher):
        def message(self, text: str) -> None:
            messages.append(text)

    again = section(2, model__weights=bare, training__steps=1)
    idemlab.train(again, tmp_path / "again", watchers=[Hearing()], progress=False)
    assert any(text.startswith(anew) for text in messages)


def test_a_given_module_starts_from_weights_too(earlier: Path, tmp_path: Path, tiny: Make) -> None:
    net = nn.Sequential(nn.Linear(4, 4))
    save_file(nn.Sequential(nn.Linear(4, 4)).state_dict(), tmp_path / "w.safetensors")
    run = idemlab.train(
        tiny(training__steps=1, optimizer__lr=0.0),
        tmp_path / "run",
        model=net,
        overrides=[f"model.weights={tmp_path / 'w.safetensors'}", "model.freeze=['0.bias']"],
        progress=False,
    )
    check_equal(load_file(run.weights_file), load_file(tmp_path / "w.safetensors"))


# -- what does not fit ------------------------------------------------------------------------------------------------------


def write(path: Path, **tensors: Tensor) -> Path:
    save_file(tensors, path)
    return path


def test_what_does_not_fit_names_both_sides(earlier: Path, tmp_path: Path, tiny: Make) -> None:
    weights = load_file(earlier / "operator.safetensors")
    first = next(iter(weights))
    wide = tiny(model__width=16, model__weights=str(earlier))
    with pytest.raises(BadInput, match=r"of shape \[8, 4\], the model of shape \[16, 4\]"):
        started(wide)
    renamed = write(tmp_path / "renamed.safetensors", **{k if k != first else "other": t for k, t in weights.items()})
    with pytest.raises(
        BadInput, match=f"the model has '{first}', which the weights lack; .*'other', which the model lacks"
    ):
        started(tiny(model__weights=str(renamed)))
    infinite = write(tmp_path / "inf.safetensors", **(weights | {first: weights[first] * float("inf")}))
    with pytest.raises(BadInput, match=f"values in '{first}' that are not finite"):
        started(tiny(model__weights=str(infinite)))
    whole = write(tmp_path / "int.safetensors", **(weights | {first: weights[first].int()}))
    with pytest.raises(BadInput, match=f"'{first}' in int32, and model 'mlp' has it in float32"):
        started(tiny(model__weights=str(whole)))


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        ("text.safetensors", "is not a safetensors file"),
        ("gone.safetensors", "there are no weights"),
        ("empty", "has no operator.safetensors to start from"),
        ("nothing-of-this-name", "there are no weights 'nothing-of-this-name'"),
        ("", "cannot be"),
    ],
)
def test_what_is_no_weights_is_refused_and_nothing_is_written(
    weights: str, what: str, tmp_path: Path, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.safetensors").write_text("not weights")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=what):
        idemlab.train(tiny(model__weights=weights), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_loaded_run_needs_no_weights_to_start_from(earlier: Path, tmp_path: Path, tiny: Make) -> None:
    shutil.copytree(earlier, tmp_path / "start")
    table = tiny(model__weights=str(tmp_path / "start"), training__steps=1)
    run = idemlab.train(table, tmp_path / "run", progress=False)
    shutil.rmtree(tmp_path / "start")
    check_equal(dict(idemlab.load(run.path).state_dict()), load_file(run.weights_file))


# -- the hash ---------------------------------------------------------------------------------------------------------------


def test_other_weights_are_told_from_those_that_a_run_began_with(earlier: Path, tmp_path: Path, tiny: Make) -> None:
    start = tmp_path / "start.safetensors"
    shutil.copyfile(earlier / "operator.safetensors", start)
    table = tiny(model__weights=str(start))
    with pytest.raises(Interrupted):
        idemlab.train(table, tmp_path / "run", watchers=[Stop()], progress=False)
    run, before = idemlab.Run(tmp_path / "run"), sha256(start)
    assert run.experiment.table()["model"]["weights_sha256"] == before
    save_file({name: t + 1 for name, t in load_file(start).items()}, start)
    with pytest.raises(BadInput, match=f"model.weights_sha256: {before} -> {sha256(start)}"):
        idemlab.train(table, run.path, resume=True, progress=False)
    with pytest.raises(BadInput, match="not the weights that the experiment was resolved with"):
        idemlab.train(run.path, run.path, resume=True, progress=False)
    anew = idemlab.resolve(run.experiment_file, [f"model.weights={start}"])
    assert anew.start.settings.weights_sha256 is None, "weights that are set again are taken as they are"
    shutil.copyfile(earlier / "operator.safetensors", start)
    assert idemlab.train(table, run.path, resume=True, progress=False).certificate


@pytest.mark.long
def test_a_sweep_resumes_with_the_same_weights_only(earlier: Path, tmp_path: Path, tiny: Make) -> None:
    start = tmp_path / "start.safetensors"
    shutil.copyfile(earlier / "operator.safetensors", start)
    table = tiny(model__weights="start.safetensors", model__freeze=["*.0.*"], training__steps=2)
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(table))
    sweep = idemlab.Sweep(experiment=str(tmp_path / "tiny.toml"), over={"optimizer.lr": [0.0, 0.01]})
    results = idemlab.run_sweep(sweep, tmp_path / "sweep")
    assert [trial.state for trial in results.trials] == ["complete", "complete"]
    before, after = load_file(start), load_file(results.trials[1].path / "operator.safetensors")
    check_equal(load_file(results.trials[0].path / "operator.safetensors"), before)
    stayed = {name for name in before if torch.equal(before[name], after[name])}
    assert stayed == {name for name in before if ".0." in name}
    save_file({name: t + 1 for name, t in load_file(start).items()}, start)
    with pytest.raises(BadInput, match="weights_sha256"):
        idemlab.run_sweep(sweep, tmp_path / "sweep", resume=True)


# -- freezing ---------------------------------------------------------------------------------------------------------------


def test_what_is_frozen_stays_and_the_rest_is_trained(tmp_path: Path, tiny: Make) -> None:
    table = tiny(training__steps=3, optimizer={"name": "adamw", "lr": 0.1})
    table["model"] = {"name": "linear", "bias": True, "freeze": ["*weight"]}
    run = idemlab.train(table, tmp_path / "run", progress=False)
    before, after = started(table), load_file(run.weights_file)
    moved = {name: not torch.equal(before[name], after[name]) for name in before}
    assert moved == {name: name.endswith("bias") for name in before}
    assert run.experiment.table()["model"]["freeze"] == ["*weight"]


def test_a_projection_leaves_frozen_maps_alone() -> None:
    from idemlab.objective.projection import square_maps

    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[0].weight.requires_grad_(False)
    assert list(square_maps(net)) == ["1.weight"]


def test_a_pattern_that_matches_nothing_names_the_nearest(tiny: Make) -> None:
    with pytest.raises(
        BadInput, match=r"the pattern 'encodr\.\*' matches no parameter of model 'autoencoder'"
    ) as caught:
        started(
            tiny(
                dataset={"name": "gaussian", "shape": [1, 8, 8], "train": 64, "test": 32},
                model={"name": "autoencoder", "channels": 2, "latent": 4, "freeze": ["encodr.*"]},
            )
        )
    assert caught.value.nearest == "encoder.*"
    assert "decoder.*" in caught.value.choices


def test_a_model_that_is_frozen_altogether_is_refused(tmp_path: Path, tiny: Make) -> None:
    with pytest.raises(BadInput, match="has frozen all of its"):
        idemlab.train(tiny(model__freeze=["*"]), tmp_path / "run", progress=False)


# -- whose keys they are --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("weights", 3, "'weights' cannot be 3"),
        ("freeze", "encoder.*", "'freeze' cannot be"),
        ("weights_sha256", "0" * 64, "hash of 'weights', which are missing"),
        ("wieghts", "x", "has no argument 'wieghts'"),
    ],
)
def test_wrong_keys_are_refused(key: str, value: Any, what: str, tiny: Make) -> None:
    with pytest.raises(BadInput, match=what):
        idemlab.resolve(tiny(**{f"model__{key}": value}))


def test_no_model_may_take_their_names(
    site: Path, install: Callable[..., None], catalog: Callable[..., Catalog]
) -> None:
    install(
        "theirs",
        """
        from idemlab import ModelSpec, hookimpl

        def net(shape: tuple[int, ...], freeze: bool = True): ...

        @hookimpl
        def provide_models():
            yield ModelSpec(name="net", factory=net, summary="s")
        """,
    )
    (failure,) = catalog().failures
    assert "argument 'freeze' has the name of a key that every model has" in failure.cause

    def network(weights: str = "") -> nn.Module: ...  # type: ignore[empty-body]

    with pytest.raises(BadInput, match="has an argument named 'weights'"):
        idemlab.train({}, "nowhere", model=network)
    assert ModelSpec.reserved == ("weights", "weights_sha256", "freeze")
