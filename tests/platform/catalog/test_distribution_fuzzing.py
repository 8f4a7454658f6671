"""Environments of fake distributions in any state: what is whole is found, what is broken is told, nothing is raised.

`HYPOTHESIS_PROFILE=thorough` runs forty times as many examples.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idemlab import BadInput, Catalog
from idemlab.catalog.distributions import find_plugins, identity

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
pytestmark = pytest.mark.timeout(3600 if THOROUGH else 300)

NAMES = st.sampled_from(["odd", "Odd", "o.d_d", "good", "~ood", "", "-", "x" * 90, "größe", "a b", "idemlab"])
VERSIONS = st.sampled_from(["1.0", "2.0", "", "odd", "1.0-1", "9" * 90])
ENDINGS = st.sampled_from([".dist-info", ".egg-info", ".dist-info", ".egg", ""])
LINES = st.sampled_from(
    [
        *("[idemlab]", "[console_scripts]", "[", "odd = json", "odd = json", "odd", "odd =", "= json", "a = b c"),
        *(
            "b = json:loads",
            "c = no.such.module",
            "d = json : loads [x]",
            "# odd",
            "x" * 3000,
            "e = ..",
            "f = json:nothing",
        ),
        *("ü = ü", "\0 = \0"),
    ]
)
FIELDS = st.sampled_from(
    [
        "Name: odd",
        "Name:",
        "Name: o:d",
        "Version: 1.0",
        "Version:",
        "Version: x",
        "Metadata-Version: 2.1",
        "",
        ":",
        "\xff",
    ]
)
CONTENTS = st.one_of(
    st.lists(LINES, max_size=6).map(lambda lines: "\n".join(lines).encode()),
    st.lists(LINES, max_size=6).map(lambda lines: "\r\n".join(["[idemlab]", *lines]).encode()),
    st.lists(FIELDS, max_size=4).map(lambda lines: "\n".join(lines).encode("latin-1")),
    st.binary(max_size=40),
)
FILES = st.dictionaries(
    st.sampled_from(["METADATA", "entry_points.txt", "PKG-INFO", "RECORD", "top_level.txt", "direct_url.json"]),
    st.one_of(CONTENTS, st.none()),  # None: a folder
    max_size=4,
)


@settings(
    max_examples=3000 if THOROUGH else 30,
    deadline=None,
    derandomize=bool(os.environ.get("CI")) and not THOROUGH,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(st.lists(st.tuples(NAMES, VERSIONS, ENDINGS, FILES), max_size=4))
def test_any_environment(records: list[tuple[str, str, str, dict[str, bytes | None]]]) -> None:
    site = Path(tempfile.mkdtemp())
    try:
        whole = site / "whole-1.0.dist-info"
        whole.mkdir()
        (whole / "METADATA").write_text("Name: whole\nVersion: 1.0\n")
        (whole / "entry_points.txt").write_text("[idemlab]\nwhole = whole\n")
        for name, version, ending, files in records:
            folder = site / f"{name}-{version}{ending}"
            folder.mkdir(exist_ok=True)
            for file, content in files.items():
                if (folder / file).exists():
                    continue
                if content is None:
                    (folder / file).mkdir()
                else:
                    (folder / file).write_bytes(content)
        before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
        found = find_plugins([site])
        assert ("whole", "1.0") in [identity(point.dist) for point in found.entry_points]
        assert found == find_plugins([site]), "in a fixed order"
        catalog = Catalog(found.entry_points, found.failures)
        loaded = {(plugin.distribution, plugin.name) for plugin in catalog.plugins}
        broken = {(failure.plugin.distribution, failure.plugin.name) for failure in catalog.failures}
        assert {(identity(point.dist)[0], point.name) for point in found.entry_points} <= loaded | broken, (
            "used, or told"
        )
        for failure in catalog.failures:
            text = f"{failure.plugin}: {failure.cause}; {failure.fix}"
            assert len(text) < 1500, text
            assert text.isprintable(), text
        with pytest.raises(BadInput) as caught:
            catalog.find("model", "mlp")
        assert len(str(caught.value)) < 2400
        assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
    finally:
        shutil.rmtree(site)
