"""Wheels, a fresh environment to install them into, and fake distributions for the command line, a faulty one too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest
from typer.testing import CliRunner, Result

import idemlab
from idemlab.cli import app

ROOT = Path(__file__).parents[2]

SECOND = "idemlab-shrink"
"""The second distribution: the project that `idemlab plugins new` writes, unchanged."""

TINY = """\
[dataset]
name = "gaussian"
shape = [4]
train = 64
test = 32

[model]
name = "{model}"

[enforcer]
{enforcer}

[training]
steps = 6
batch_size = 16
log_every = 1
checkpoint_every = 2

[evaluation]
every = 4
rank_points = 1
metrics = []
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., str]:
    """A function that writes an experiment of six steps, `tiny.toml`, with these lines below `[enforcer]`."""

    def make(enforcer: str, model: str = "mlp") -> str:
        path = tmp_path / "tiny.toml"
        path.write_text(TINY.format(enforcer=enforcer, model=model))
        return str(path)

    return make


# -- a fresh environment ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fresh:
    """An environment of its own, beside which only what idemlab depends on can be seen.

    Args:
        folder: of the environment.
    """

    folder: Path

    @property
    def project(self) -> Path:
        """The project of the second distribution."""
        return self.folder / SECOND

    def run(self, *words: str | Path, cwd: Path, expect: int = 0) -> str:
        """What a program of this environment prints; its exit code must be the expected one."""
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("IDEMLAB_", "PYTHON", "COV"))
        }
        done = subprocess.run(
            [self.folder / "bin" / words[0], *words[1:]],
            cwd=cwd,
            env=inherited | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == expect, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def build(self, project: Path) -> Path:
        """The wheel of a project, made outside of this environment."""
        out = self.folder / "wheels" / project.name
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
        subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=120)
        (wheel,) = out.glob("*.whl")
        return wheel

    def install(self, wheel: Path) -> None:
        """Install a wheel, and nothing that it asks for."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin" / "python")]
        options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *options, str(wheel)], check=True, timeout=120)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """An environment with the wheels of idemlab and of a new plugin project; the dependencies are this environment's."""
    environment = Fresh(tmp_path_factory.mktemp("fresh"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment.folder)], check=True, timeout=120)
    (site,) = (environment.folder / "lib").glob("python*/site-packages")
    seen = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "dependencies.pth").write_text("\n".join(seen) + "\n")
    environment.install(environment.build(ROOT))
    environment.run("idemlab", "plugins", "new", SECOND, cwd=environment.folder)
    environment.install(environment.build(environment.project))
    return environment


# -- fake distributions -----------------------------------------------------------------------------------------------

Idemlab = Callable[..., Result]
Install = Callable[..., None]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unplotted: None) -> Iterator[Path]:
    """An empty working folder, with a `site` in it on `sys.path` whose modules are forgotten afterwards."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(site)
    for name in ("RANK", "LOCAL_RANK", "FORCE_COLOR", "TTY_COMPATIBLE", "IDEMLAB_PLUGINS", "IDEMLAB_STRICT"):
        monkeypatch.delenv(name, raising=False)
    before = set(sys.modules)
    yield tmp_path
    idemlab.installed.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]


@pytest.fixture
def install(here: Path) -> Install:
    """A function that installs a fake distribution with one plugin, a module of the given code."""

    def make(distribution: str, code: str, *, version: str = "0.3") -> None:
        module = distribution.replace("-", "_")
        info = here / "site" / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[idemlab]\n{module} = {module}\n")
        (here / "site" / f"{module}.py").write_text(dedent(code))

    return make


@pytest.fixture
def call(here: Path) -> Idemlab:
    """The command line, in process, with the fake distributions installed: `call("list", "enforcers").exit_code`."""

    def run(*words: str) -> Result:
        idemlab.installed.cache_clear()
        return CliRunner().invoke(app, list(words), catch_exceptions=False)

    return run


# -- a faulty plugin --------------------------------------------------------------------------------------------------

FAULTY = """
from idemlab import EnforcerKind, EnforcerSpec, Traits, hookimpl

def faulty():
    import torch
    from idemlab import Enforcement, Enforcer

    class Faulty(Enforcer):
{methods}
    return Faulty()

@hookimpl
def provide_enforcers():
    traits = Traits(kinds=frozenset({{EnforcerKind.{kind}}}))
    yield EnforcerSpec(name="faulty", factory=faulty, summary="Faulty.", install="faulty-one[extra]", traits=traits)
"""


@pytest.fixture
def faulty() -> Callable[..., str]:
    """The code of a plugin whose enforcer has one method, of this body; y is f(x) in `forward`."""

    def write(body: str, method: str = "forward(self, orbit, step)", kind: str = "LOSS") -> str:
        first = "y = orbit.output\n" if method.startswith("forward") else ""
        methods = indent(f"def {method}:\n" + indent(first + body, "    "), " " * 8)
        return FAULTY.format(methods=methods, kind=kind)

    return write


@pytest.fixture
def origin() -> str:
    """How messages call the plugin of the distribution faulty-one."""
    return "faulty-one 0.3, plugin 'faulty_one'"


@pytest.fixture
def lines() -> Callable[[Result], dict[str, str]]:
    """The labelled lines of an error."""

    def read(result: Result) -> dict[str, str]:
        return dict(line.strip().split(": ", 1) for line in result.stderr.splitlines() if ": " in line)

    return read
