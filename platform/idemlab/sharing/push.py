"""Push a trained operator to the Hugging Face hub, with a model card made of its certificate."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import BadInput, IdemlabError
from ..experiment.operators import FILES
from ..experiment.toml import flat
from ..runs.run import Run
from ..system.hub import check_token, is_hub_name, publish
from ..wording import clipped, listed
from .card import check_license, model_card

__all__ = ["push"]


def push(
    run: Run | str | Path,
    name: str,
    *,
    license: str | None = None,
    private: bool = False,
    update: bool = False,
    message: Callable[[str], None] = lambda text: None,
) -> str:
    """Push the trained operator of a run to the Hugging Face hub; ``idemlab.load(name)`` loads it from there.

    The repository holds the weights, the resolved experiment, the certificate, the versions, and a model card with the
    pictures of the report. All files are prepared and checked first, and uploaded in one commit. The token is that of
    huggingface_hub, from the variable HF_TOKEN or from ``hf auth login``.

    Args:
        run: a finished run, or its folder.
        name: on the hub, ``owner/name``.
        license: identifier of the licence under which others may use the operator, for instance ``mit``.
        private: make a repository that only its owner sees.
        update: add a commit to an existing repository.
        message: called with each remark.

    Returns:
        The address.

    Raises:
        BadInput: if the run is not finished, the licence or the token is missing, or the repository exists.
        Failure: if the weights are damaged, or the hub cannot be reached.
    """
    if not is_hub_name(name):
        raise BadInput(f"'{clipped(name)}' is not a valid name on the hub", where="name", expected="OWNER/NAME")
    identifier = check_license(license)
    run = run if isinstance(run, Run) else Run.find(run)
    run.weights()  # damaged ones are refused
    if run.certificate is None:
        raise BadInput(f"run '{run.path}' is not finished", expected="a run with a certificate", next_step=run.resuming)
    check_token()
    for remark in _paths(run):
        message(remark)
    with tempfile.TemporaryDirectory(prefix="idemlab-") as made:
        folder = Path(made)
        for file in FILES:
            if (run.path / file).is_file():
                shutil.copyfile(run.path / file, folder / file)
        pictures = [f"figures/{path.name}" for path in _pictures(run, message)]
        (folder / "figures").mkdir()
        for picture in pictures:
            shutil.copyfile(run.path / picture, folder / picture)
        (folder / "README.md").write_text(model_card(run, name, identifier, pictures), encoding="utf-8")
        return publish(
            folder, name, private=private, update=update, message=f"{run.experiment.name}, pushed by idemlab"
        )


def _pictures(run: Run, message: Callable[[str], None]) -> list[Path]:
    """The pictures of the report, which is written if there is none."""

    def found() -> list[Path]:
        return [path for path in (run.figures / "hero.png",) if path.is_file()] + sorted(
            run.figures.glob("orbits*.png")
        )

    if not found():
        from ..reports.page import write_report

        try:
            write_report(run)
        except IdemlabError as error:
            message(f"the card has no pictures, since the report cannot be written: {error.what}")
    return found()


def _paths(run: Run) -> Iterator[str]:
    """A remark on paths of this machine that everybody will read in the experiment."""
    keys = [
        key for key, value in flat(run.experiment.table()).items() if isinstance(value, str) and value.startswith("/")
    ]
    if keys:
        yield f"experiment.toml will be public, and contains paths on this machine: {listed(keys)}"
