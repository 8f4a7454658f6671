"""Compute once what depends on weights alone, such as factorisations and inverses, which few formats have as operations."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

__all__ = ["folded"]

_SOLVE = torch.ops.aten.linalg_solve.default
_TRIANGULAR = torch.ops.aten.linalg_solve_triangular.default


def folded(program: ExportedProgram) -> fx.GraphModule:
    """The module of a traced program, in which every result that depends on weights alone is a constant, and every linear
    system whose matrix does is a product with the inverse."""
    module = cast(fx.GraphModule, program.run_decompositions({}).module(check_guards=False))
    known: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known[node] = attrgetter(str(node.target))(module)
        elif node.all_input_nodes and known.keys() >= set(node.all_input_nodes) and _is_pure(node):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = cast(Callable[..., Any], node.target)(*args, **kwargs)
    for node in list(module.graph.nodes):
        if node.target in (_SOLVE, _TRIANGULAR) and node not in known and node.args[0] in known:
            _multiply(module, node, known[node.args[0]])
    for node, value in known.items():
        if node.op != "get_attr" and isinstance(value, Tensor) and not known.keys() >= set(node.users):
            node.replace_all_uses_with(_constant(module, node, value))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _is_pure(node: fx.Node) -> bool:
    return node.op == "call_function" and not node.is_impure()


def _constant(module: fx.GraphModule, before: fx.Node, value: Tensor) -> fx.Node:
    """A buffer of a new name, read before a node."""
    name = f"folded_{sum(name.startswith('folded_') for name, _ in module.named_buffers())}"
    module.register_buffer(name, value.detach().clone())
    with module.graph.inserting_before(before):
        return module.graph.get_attr(name)


def _multiply(module: fx.GraphModule, node: fx.Node, matrix: Tensor) -> None:
    """Replace the solution of a linear system with a known matrix by a product with its inverse."""
    options, right = node.kwargs, cast(fx.Node, node.args[1])
    exact, one = matrix.detach().double(), torch.eye(matrix.shape[-1], dtype=torch.float64)
    if node.target is _TRIANGULAR:
        flags = {"upper": bool(options["upper"]), "unitriangular": bool(options.get("unitriangular", False))}
        inverse = torch.linalg.solve_triangular(exact, one, **flags)
    else:
        inverse = torch.linalg.inv(exact)
    factors = (_constant(module, node, inverse.to(matrix.dtype)), right)
    with module.graph.inserting_before(node):
        left = bool(options.get("left", True))
        product = module.graph.call_function(torch.ops.aten.matmul.default, factors if left else factors[::-1])
    node.replace_all_uses_with(product)
