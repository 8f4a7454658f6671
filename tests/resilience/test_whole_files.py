"""Files are whole or as they were before, and others may read them as the umask says."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import idemlab
from idemlab.runs.weights import read_weights, write_weights
from idemlab.system.files import replacing, write_text
from idemlab.training.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """That the process has for the time of a test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_all_files_of_a_checkpoint_have_the_mode_of_others(tmp_path: Path, umask: int) -> None:
    """safetensors by itself lets nobody else read what it writes."""
    net = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    save_checkpoint(tmp_path / "checkpoints", 1, net, [optimizer], {}, keep=1)
    write_weights(tmp_path / "operator.safetensors", net)
    write_text(tmp_path / "text", "x")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "before")
    with pytest.raises(TypeError), replacing(path) as partial:
        partial.write_text("half") + "nothing"  # type: ignore[operator]
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_of_a_file_goes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    left = tmp_path / "file.tmp"
    left.mkdir()
    (left / "file").write_text("half")
    (left / ".tmpXYZ").write_text("of the library that was writing")
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_not_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


class Tied(nn.Module):
    """Two names for one weight, and a weight that is a part of another."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.register_buffer("row", self.encoder.weight.detach()[1])


def test_weights_that_share_their_memory_are_kept(tmp_path: Path) -> None:
    net = Tied()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net.decoder(net.encoder(torch.ones(3))).sum().backward()
    optimizer.step()
    shared = torch.ones(4)
    path = save_checkpoint(tmp_path, 1, net, [optimizer], {"a": shared, "b": shared[:2]}, keep=1)
    other = Tied()
    state = load_checkpoint(path, other, [torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)])
    assert other.decoder.weight is other.encoder.weight
    for name, value in net.state_dict().items():
        assert torch.equal(read_weights(path / "objective.safetensors")[name], value)
        assert torch.equal(other.state_dict()[name], value)
    assert [t.tolist() for t in state.values()] == [[1.0] * 4, [1.0] * 2]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["curves.png", "report.html"])
def test_a_report_on_a_full_disk_leaves_nothing_in_part(
    done: idemlab.Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    done.certificate_file.unlink()  # fewer pictures to draw
    from os import replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(idemlab.Failure, match=r"the report cannot be written: .*No space left"):
        idemlab.write_report(done)
    assert [path for path in done.path.rglob("*") if ".tmp" in path.name or path.name == name] == []
