"""The optimisers of torch.optim as specs. Its source code is read, not imported, because loading torch takes seconds."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Union

from ..contracts.specs import OptimizerSpec

__all__ = ["TORCH", "UNSUITABLE_OPTIMIZERS", "Argument", "arguments", "classes", "fused", "torch_optimizers"]

TORCH = "torch"
"""The distribution that these optimisers come from."""

UNSUITABLE_OPTIMIZERS = {
    "lbfgs": "it evaluates the loss several times a step, but a training step has one batch and one backward",
    "sparseadam": "it takes sparse gradients only, but those of an operator are dense",
}
"""Classes of torch.optim, in lower case, that cannot train an operator, and why."""

_PLAIN = {"bool": bool, "float": float, "int": int, "str": str}


@dataclass(frozen=True)
class Argument:
    """An argument of a class of torch.optim, with the type that a file can give it and its default."""

    type: Any
    default: Any


class _Factory:
    """Makes an optimiser of one class as a run does. It has the signature of the class, read when it is needed."""

    def __init__(self, cls: str) -> None:
        self._cls = self.__name__ = cls

    def __call__(self, parameters: Any, **given: Any) -> Any:
        import torch

        if self._cls == "Muon":
            from .muon import Muon

            others = {"lr": given.get("lr", 0.001), **given.pop("adamw", {})}
            matrices, rest = ([p for p in parameters if (p.ndim == 2) is flat] for flat in (True, False))
            built: list[Any] = [Muon(matrices, **given)] if matrices else []
            return [*built, _made(torch.optim.AdamW, rest, others)] if rest else built
        return _made(getattr(torch.optim, self._cls), parameters, given)

    @property
    def __signature__(self) -> inspect.Signature:
        keyword = inspect.Parameter.KEYWORD_ONLY
        own = [inspect.Parameter(n, keyword, default=a.default) for n, a in self._arguments.items()]
        return inspect.Signature([inspect.Parameter("parameters", inspect.Parameter.POSITIONAL_ONLY), *own])

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {name: argument.type for name, argument in self._arguments.items()}

    @property
    def _arguments(self) -> dict[str, Argument]:
        further = {"adamw": Argument(dict[str, Any], {})} if self._cls == "Muon" else {}
        return arguments(self._cls) | further


def _made(cls: Any, parameters: Any, given: Mapping[str, Any]) -> Any:
    return cls(parameters, **fused(cls, given))


def fused(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with one fused kernel per step instead of several passes over all parameters, if the class has one."""
    has_one = "fused" in inspect.signature(cls).parameters
    chosen = any(given.get(name) is not None for name in ("fused", "foreach"))
    return dict(given) | ({"fused": True} if has_one and not chosen else {})


def torch_optimizers() -> list[OptimizerSpec]:
    """A spec for each class that can train an operator; empty if torch is installed without its source."""
    return [
        OptimizerSpec(
            name=cls.lower(),
            factory=_Factory(cls),
            summary="Muon on matrices, and AdamW on the rest." if cls == "Muon" else f"torch.optim.{cls}.",
            reference=f"https://docs.pytorch.org/docs/stable/generated/torch.optim.{cls}.html",
        )
        for cls in classes()
        if cls.lower() not in UNSUITABLE_OPTIMIZERS
    ]


@cache
def classes() -> dict[str, Path]:
    """The file of each class of optimisers that torch.optim offers."""
    spec = find_spec("torch")
    folder = Path(spec.origin).parent / "optim" if spec is not None and spec.origin else Path()
    return {
        alias.name: folder / f"{node.module.rpartition('.')[2]}.py"
        for node in getattr(_tree(folder / "__init__.py"), "body", [])
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.name[0].isupper() and alias.name != "Optimizer"
    }


@cache
def arguments(cls: str) -> dict[str, Argument]:
    """The arguments of a class, without the parameters to train."""
    found = {}
    body: list[ast.stmt] = getattr(_tree(classes()[cls]), "body", [])
    named = _Inlined(body)
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            start = next(each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
            plain, only = start.args.args[2:], start.args.kwonlyargs
            defaults = [*[None] * (len(plain) - len(start.args.defaults)), *start.args.defaults][-len(plain) :]
            for argument, default in zip([*plain, *only], [*defaults, *start.args.kw_defaults], strict=True):
                found[argument.arg] = Argument(_type(argument.annotation), named.value(default))
    return found


def _type(annotation: ast.expr | None) -> Any:
    """The type that an annotation states, without tensors, which a file cannot contain. Any if it is another thing."""
    if isinstance(annotation, ast.Name):
        return _PLAIN.get(annotation.id, Any)
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return None
    if isinstance(annotation, ast.BinOp):
        sides = [each for each in (annotation.left, annotation.right) if ast.unparse(each) != "Tensor"]
        return Union[tuple(_type(side) for side in sides)]  # noqa: UP007  (None and Any have no |)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "tuple":
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return tuple[tuple(_type(part) for part in parts)]  # type: ignore[misc]
    return Any


class _Inlined(ast.NodeTransformer):
    """Puts the constants of a module in the place of their names."""

    def __init__(self, body: list[ast.stmt]) -> None:
        self._constants = {
            node.targets[0].id: node.value
            for node in body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._constants.get(node.id, node)

    def value(self, default: ast.expr | None) -> Any:
        """A default, or None if it is no plain value."""
        try:
            return None if default is None else ast.literal_eval(self.visit(default))
        except ValueError:
            return None


def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
