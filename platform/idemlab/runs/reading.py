"""The required content of a run's JSON files, so that every reader reports a damaged one as damaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["CertificateFile", "Entry", "EnvironmentFile", "fault"]

Number = float | None
Count = Annotated[int, Ge(0)]


class _Whole(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Spectrum(_Whole):
    exact: bool
    singular_values: list[float]
    eigenvalue_moduli: list[float] | None


class _Inputs(_Whole):
    relative: Annotated[list[float], MinLen(1)]
    absolute: Annotated[list[float], MinLen(1)]
    spread: float
    input_spread: float
    displacement: Number
    verdict: str
    dimension: Count
    rank: Number
    trace: Number
    thresholds: dict[str, float]
    spectra: list[_Spectrum]
    figures: dict[str, Number]


class CertificateFile(_Whole):
    """certificate.json."""

    verdict: str
    sentence: str
    steps: Count
    flops: float
    inputs: Annotated[dict[str, _Inputs], MinLen(1)]


class _Plan(_Whole):
    steps: Annotated[int, Ge(1)] = 1
    flops_per_step: float = 0.0


class EnvironmentFile(_Whole):
    """environment.json. Missing values are shown as missing, so only present values are checked."""

    packages: dict[str, str] = {}
    plugins: dict[str, str] = {}
    plan: _Plan = _Plan()
    changes: list[str] = []


class _Time(_Whole):
    seconds: float


class Entry(_Whole):
    """A line of metrics.jsonl."""

    step: Count
    split: Literal["train", "evaluation", "ema"]
    time: _Time


def fault(form: type[BaseModel], content: Any) -> str | None:
    """What is wrong with the content of a file, None if it has the form."""
    try:
        form.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            return "a JSON object was expected"
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'][0].lower()}{first['msg'][1:]}"
    if form is Entry:
        numbers: Mapping[str, Any] = {key: value for key, value in content.items() if key not in ("split", "time")}
        wrong = [key for key, value in numbers.items() if value is not None and not isinstance(value, (int, float))]
        return f"{wrong[0]}: input should be a number" if wrong else None
    return None
