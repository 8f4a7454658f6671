"""Load plugins from their entry points.

A broken plugin never stops idemlab: its failure is recorded, and `idemlab plugins` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.metadata import EntryPoint

import pluggy

from ..contracts.hookspecs import PROJECT, HookSpecs
from ..contracts.specs import API_VERSION, KINDS, OLDEST_API_VERSION, EnforcerSpec, ModelSpec, Traits
from ..errors import BadInput, Failure, nearest_match
from ..wording import clipped, with_article
from . import schema
from .distributions import Found, find_plugins, identity
from .faults import one_line
from .provided import Plugin, PluginFailure, Provided
from .unreadable import scan_failure

__all__ = ["HOOKS", "Loaded", "chosen_plugins", "foreign_package"]

HOOKS = {
    "provide_models": "model",
    "provide_datasets": "dataset",
    "provide_enforcers": "enforcer",
    "provide_sources": "source",
    "provide_metrics": "metric",
    "provide_optimizers": "optimizer",
    "provide_schedules": "schedule",
    "provide_trackers": "tracker",
    "provide_experiments": "experiment",
    "provide_studies": "study",
    "provide_suites": "suite",
}
"""The kind of specs that each hook yields."""


class Loaded:
    """The result of loading entry points: plugins, their specs by kind, and failures.

    Args:
        entry_points: entry points to load, in this order.
        failures: faults in the records of installed distributions.
        strict: raise at the first broken plugin instead of recording its failure.
    """

    def __init__(
        self, entry_points: Iterable[EntryPoint], failures: Iterable[PluginFailure] = (), *, strict: bool = False
    ) -> None:
        self.plugins: list[Plugin] = []
        self.failures: list[PluginFailure] = []
        self.provided: dict[str, list[Provided]] = {kind: [] for kind in KINDS}
        self._strict = strict
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HookSpecs)
        for failure in failures:
            self._fail(failure.plugin, failure.cause, failure.fix)
        for entry_point in entry_points:
            self._load(entry_point)

    def _load(self, entry_point: EntryPoint) -> None:
        distribution, version = identity(entry_point.dist)
        plugin = Plugin(name=entry_point.name, distribution=distribution, version=version, module=entry_point.value)
        key = f"{plugin.distribution}:{plugin.name}"
        try:
            module = entry_point.load()
            if self._manager.is_registered(module):
                same = self._manager.get_name(module)
                self._fail(plugin, f"loads the same module as the plugin {same}", "remove one of the two entry points")
                return
            try:
                self._manager.register(module, key)
                self._manager.check_pending()
            except Exception:
                self._manager.unregister(name=key)
                raise
        except (Exception, SystemExit) as error:
            self._fail(plugin, f"cannot be loaded: {_cause(error)}", _fix(plugin, error), error)
            return
        if not self._manager.get_hookcallers(module):
            self._fail(plugin, "offers nothing", "mark a function such as provide_models with @idemlab.hookimpl")
            return
        self.plugins.append(plugin)
        others = [other for name, other in self._manager.list_name_plugin() if name != key]
        for hook, kind in HOOKS.items():
            try:
                caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
                results = caller()
                if caller.get_hookimpls() and not results:  # pluggy drops None
                    raise TypeError("it returned None, not specs")
                specs = [spec for result in results for spec in result]
            except (Exception, SystemExit) as error:
                self._fail(plugin, f"its hook {hook} raised {_cause(error)}", _fix(plugin, error), error)
                continue
            for spec in specs:
                self._accept(plugin, hook, kind, spec)

    def _accept(self, plugin: Plugin, hook: str, kind: str, spec: object) -> None:
        expected = KINDS[kind]
        if not isinstance(spec, expected):
            self._fail(
                plugin,
                f"its hook {hook} yielded {type(spec).__name__}, not {expected.__name__}",
                f"yield {expected.__name__}(name=..., factory=..., summary=...) there",
            )
            return
        if not OLDEST_API_VERSION <= spec.api_version <= API_VERSION:
            newer = spec.api_version > API_VERSION
            self._fail(
                plugin,
                f"{kind} '{spec.name}' is written for api_version {spec.api_version}, "
                f"but this idemlab supports none {'later than' if newer else 'earlier than'} "
                f"{API_VERSION if newer else OLDEST_API_VERSION}",
                "pip install --upgrade idemlab" if newer else f"pip install --upgrade {plugin.distribution}",
            )
            return
        try:
            if kind not in ("experiment", "study", "suite"):  # these factories take no arguments, so any callable works
                found = schema.parameters(spec.factory, skip=spec.passed)
                taken = [each.name for each in found if each.name in spec.reserved]
                if taken:
                    raise TypeError(f"argument '{taken[0]}' has the name of a key that every {kind} has: rename it")
                if isinstance(spec, ModelSpec) and spec.conditional:
                    schema.check_conditional(spec.factory)
        except (TypeError, ValueError) as error:
            self._fail(
                plugin, f"{kind} '{spec.name}': {error}", "make it a plain function whose arguments are annotated"
            )
            return
        if isinstance(spec, EnforcerSpec) and not (isinstance(spec.traits, Traits) or callable(spec.traits)):
            self._fail(
                plugin,
                f"{kind} '{spec.name}': its traits are {with_article(type(spec.traits).__name__)}, not Traits",
                "give it traits=Traits(...), or a function of its arguments that returns one",
            )
            return
        if any(entry.full_name == f"{plugin.distribution}:{spec.name}" for entry in self.provided[kind]):
            self._fail(
                plugin, f"{kind} '{spec.name}' is offered twice by {plugin.distribution}", "rename one of the two"
            )
            return
        self.provided[kind].append(Provided(spec, plugin))

    def _fail(self, plugin: Plugin, cause: str, fix: str, error: BaseException | None = None) -> None:
        if self._strict:
            raise Failure(f"plugin {plugin.name} {cause}", where=str(plugin), next_step=fix) from error
        self.failures.append(PluginFailure(plugin, cause, fix))


def foreign_package(plugin: Plugin, error: BaseException) -> str | None:
    """The missing package, or None if it is the plugin's own or idemlab, which are installed but faulty."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    return None if package in (plugin.package, PROJECT) else package


def _cause(error: BaseException) -> str:
    """Why a plugin raised while loading."""
    scan = scan_failure(error)
    return scan.what if scan else one_line(error)


def _fix(plugin: Plugin, error: BaseException) -> str:
    """The next step for a plugin that raised while loading."""
    scan = scan_failure(error)
    if scan is not None and scan.next_step:
        return scan.next_step
    package = foreign_package(plugin, error)
    if package:
        step = f"pip install {package}"
    elif isinstance(error, pluggy.PluginValidationError):
        step = f"name its hooks {', '.join(HOOKS)}, without arguments"
    else:
        step = f"pip install --upgrade {plugin.distribution}"
    return f"{step}, or leave the plugin out with IDEMLAB_PLUGINS"


def chosen_plugins() -> Found:
    """The installed plugins, or those that ``IDEMLAB_PLUGINS`` names.

    Raises:
        BadInput: if ``IDEMLAB_PLUGINS`` names a plugin that is not installed.
    """
    found = find_plugins()
    chosen = os.environ.get("IDEMLAB_PLUGINS")
    if chosen is None:
        return found
    names = {name.strip() for name in chosen.split(",")} - {""}
    offered = [(each, {each.name, identity(each.dist)[0]}) for each in found.entry_points]
    broken = [(failure, {failure.plugin.name, failure.plugin.distribution}) for failure in found.failures]
    known = set[str]().union(*(called for _, called in offered))
    for name in sorted(names - known.union(*(called for _, called in broken))):
        raise BadInput(
            f"there is no plugin '{clipped(name)}'",
            where="the environment variable IDEMLAB_PLUGINS",
            choices=sorted(known),
            nearest=nearest_match(name, known),
            next_step="unset IDEMLAB_PLUGINS to load all of them",
        )
    return Found(
        tuple(entry_point for entry_point, called in offered if names & called),
        tuple(failure for failure, called in broken if names & called),
    )
