"""The verdict on the paper, claim by claim: a page made of the records, so that no number in it is written by hand.

`python -m idemlab_registry.verdict docs/verdict.md` writes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from idemlab import Claim

RECORDS = Path(__file__).parent / "records"
ORDER = (
    "derivation",
    "iteration",
    "basin",
    "learning-rates",
    "trajectories",
    "gradients",
    "generation",
    "latent",
    "faces",
)

_HEAD = """\
# Verdict on the paper

"Enforcing Idempotency in Neural Networks" (N. B. Jensen and J. Vicary, ICML 2025), claim by claim: the paper's number,
ours under its protocol, ours under controls, and what follows. This page is made of the [records](studies.md) that the
studies left; each can be made again by the command that stands with it.

**The erratum.** An early draft prints the recurrence as K ← 3K² + 2K³. With that sign not even the projector 1 is a fixed
point; the recurrence of the published paper, and the one that `cubic` and `cubic-projection` compute, is K ← 3K² - 2K³. A
test keeps a counterexample.
"""

_WHY = """\
### What decides, where the method wins, where it loses

- **The constant in front of the cotangent** decides the comparison under the paper's protocol. The bare cotangent
  y - 3f(y) + 2f(f(y)) is n/2 times what it is with the constant of the canonical loss, a mean over n entries: under plain
  SGD that is a larger learning rate. Where the paper's ratios are reached, it is with the bare cotangent.
- **The rates** stop where the gradient still improves: its best rate is the largest that was tried.
- **The absolute error** rewards outputs that shrink. Without data to keep, and from the default start, both methods end at
  constants, which are idempotent and of no use; relative error, rank and verdict tell.
- **The start** decides as well: from a residual start near the identity both stay at the identity.
- **Generation** asks for targets for the noise: without (cubic, IGN and what mixes them) everything ends at one class at
  most, IGN after six times the budget, too. Where noise is carried one to one to digits, f projects it: to nine of ten
  classes, and to all ten (two seeds) after six times the budget in a variant that is not asked to repair, and is penalised
  less and later; which of these decides was not separated. Being idempotent costs diversity
  there, and draws the images nearer to the training set: with nothing enforced the same network does better at both. What
  else was tried stands with the [studies](studies.md#what-was-tried-for-generation).
- **Where it wins:** on linear maps, where eigenvalues alone decide, convergence is quadratic and no gradient is needed;
  and under plain SGD at rates that are too small for the canonical loss, by its scale.
- **Where it loses:** where there is something to keep (a manifold, digits) under an optimiser that is indifferent to
  scale. The advantage of scale is gone there, and what is left is a direction that need not descend: beyond the basin, at
  an eigenvalue of f's derivative outside ((1 - √3)/2, (1 + √3)/2), it leads away from every projector.
"""


def page(records: Path = RECORDS) -> str:
    """The page, in Markdown."""
    from idemlab.studies.record import claims_table, not_run
    from idemlab.wording import command

    found = _claims(records)
    parts = [_HEAD.strip()]
    parts.append(_missing([name for name in ORDER if name not in found]))
    if found:
        parts += ["## In short", _overview(found), _WHY.strip()]
    for name in [*ORDER, *sorted(set(found) - set(ORDER))]:
        if name in found:
            folder, content = found[name]
            made_by = command("study", name, quick=content["quick"])
            parts += [f"## {name}", content["summary"]]
            parts.append(f"Record: `{folder.name}`, made by `{made_by}`. {not_run(content.get('not_run', []))}".strip())
            parts.append(claims_table([Claim(**claim) for claim in content["claims"]]))
            if content["text"]:
                parts.append(content["text"].strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def _claims(records: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Study -> (folder, contents of claims.json) of its newest record; folders begin with the date."""
    found = {}
    for file in sorted(records.glob("*/claims.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        found[content["study"]] = (file.parent, content)
    return found


def _overview(found: dict[str, tuple[Path, dict[str, Any]]]) -> str:
    """How many claims hold, and what is concluded where one does not."""
    table = ["| Study | claims that hold | that do not | undecided |", "|---|---|---|---|"]
    failed = []
    for name in (name for name in ORDER if name in found):
        claims = [Claim(**claim) for claim in found[name][1]["claims"]]
        counts = [str(sum(claim.holds is answer for claim in claims)) for answer in (True, False, None)]
        table.append(f"| [{name}](#{name}) | {' | '.join(counts)} |")
        failed += [f"- {name}: *{claim.claim}* {claim.conclusion}" for claim in claims if claim.holds is False]
    return "\n".join([*table, "", "What does not hold:", "", *failed])


def _missing(names: list[str]) -> str:
    if not names:
        return ""
    listed = ", ".join(f"`{name}`" for name in names)
    return f"No record yet, and so no verdict, of: {listed}."


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
