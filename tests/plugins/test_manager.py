"""Plugins registered in this process: hooks, isolation, and leaving no trace."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inmf_flow.errors import ArgumentError, PluginError, UnknownNameError
from inmf_flow.hookspecs import ItemOutcome, RunInfo, RunResult, StageInfo, hookimpl
from inmf_flow.plugins import PluginManager, plugin_version, register_plugin, unregister_plugin
from inmf_flow.plugins.discovery import FoundPlugin
from inmf_flow.registry import Table, divergences, fields, metrics, transforms
from inmf_flow_stft.transform import Stft

RUN = RunInfo("night", Path("run"), {"analyze": StageInfo(total=3, todo=2)}, dashboard=None)
DONE = ItemOutcome("analyze", "a", "done", seconds=0.5)
FAILED = ItemOutcome("analyze", "b", "failed", reason="it is empty")
RESULT = RunResult("night", Path("run"), "failed", {"analyze": {"done": 2, "reused": 0, "failed": 1}}, 1.5)


def tables() -> dict[str, Table[object]]:
    return {kind: Table(kind) for kind in ("transform", "field", "divergence", "metric")}


@pytest.fixture
def manager() -> PluginManager:
    return PluginManager(find=list, tables=tables())


@pytest.fixture
def added() -> Iterator[list[str]]:
    """Names registered with the process's own manager, removed at the end."""
    names: list[str] = []
    yield names
    for name in names:
        unregister_plugin(name)


class Mine(Stft):
    name = "mine"


class Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        self.heard.append(run)

    @hookimpl
    def on_item_end(self, outcome: ItemOutcome) -> None:
        self.heard.append(outcome)

    @hookimpl
    def on_item_error(self, outcome: ItemOutcome) -> None:
        self.heard.append(outcome)

    @hookimpl
    def on_run_end(self, result: RunResult) -> None:
        self.heard.append(result)


class Raiser:
    @hookimpl
    def on_item_end(self, outcome: ItemOutcome) -> None:
        raise ZeroDivisionError("no reason")

    @hookimpl
    def on_run_end(self) -> None:
        raise SystemExit(3)


# One test for each hook, named for it: another test counts them.


def test_hook_register_transforms_makes_a_transform_available(added: list[str]) -> None:
    class Plugin:
        @hookimpl
        def register_transforms(self, register: Any) -> None:
            register(Mine)

    record = register_plugin(Plugin(), "mine")
    added.append("mine")
    assert (record.status, record.provides) == ("ok", {"transform": ["mine"]})
    assert transforms.get("mine") is Mine


def test_hook_register_fields_makes_a_field_available(added: list[str]) -> None:
    class Field:
        name = "flat"

    class Plugin:
        @hookimpl
        def register_fields(self, register: Any) -> None:
            register(Field)
            register(Field, "level")
            register(Field, "hat")
            register(Field(), "instance")

    record = register_plugin(Plugin(), "fields")
    added.append("fields")
    assert record.provides == {"field": ["flat", "level"]}
    assert record.problems == [
        "field 'hat' is not used: the name is taken by inmf_flow itself; give yours another name",
        "field 'instance' is an instance of Field; expected a class",
    ]
    assert fields.get("level") is Field


def test_hook_register_divergences_makes_a_divergence_available(added: list[str]) -> None:
    divergence = SimpleNamespace(name="cityblock")

    class Plugin:
        @hookimpl
        def register_divergences(self, register: Any) -> None:
            register(divergence)

    register_plugin(Plugin(), "divergences")
    added.append("divergences")
    assert divergences.get("cityblock") is divergence


def test_hook_register_metrics_makes_a_metric_available(added: list[str]) -> None:
    metric = SimpleNamespace(name="worst", function=max)

    class Plugin:
        @hookimpl
        def register_metrics(self, register: Any) -> None:
            register(metric)
            register(SimpleNamespace(name="hollow"))
            register(SimpleNamespace(name="si_sdr", function=max))

    record = register_plugin(Plugin(), "metrics")
    added.append("metrics")
    assert metrics.get("worst") is metric
    assert record.status == "partial"
    assert "metric 'hollow' is an instance of SimpleNamespace" in record.problems[0]
    assert "'si_sdr' is not used: the name is taken by inmf_flow itself" in record.problems[1]


def test_hook_on_run_start_is_told_of_the_run(manager: PluginManager) -> None:
    assert heard(manager, "on_run_start", run=RUN) == [RUN]


def test_hook_on_item_end_is_told_of_the_outcome(manager: PluginManager) -> None:
    assert heard(manager, "on_item_end", outcome=DONE) == [DONE]


def test_hook_on_item_error_is_told_of_the_failure(manager: PluginManager) -> None:
    assert heard(manager, "on_item_error", outcome=FAILED) == [FAILED]


def test_hook_on_run_end_is_told_of_the_result(manager: PluginManager) -> None:
    assert heard(manager, "on_run_end", result=RESULT) == [RESULT]


def heard(manager: PluginManager, hook: str, **arguments: Any) -> list[Any]:
    listener = Listener()
    manager.register(listener, "listener")
    manager.call_lifecycle(hook, **arguments)
    return listener.heard


def test_a_raising_life_cycle_hook_stops_nobody_and_is_reported_once(
    manager: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    manager.register(Raiser(), "raiser")
    manager.register(listener, "listener")
    with caplog.at_level(logging.WARNING, logger="inmf_flow.plugins"):
        for _ in range(3):
            manager.call_lifecycle("on_item_end", outcome=DONE)
        manager.call_lifecycle("on_run_end", result=RESULT)
    assert listener.heard == [DONE, DONE, DONE, RESULT]
    raiser = manager.records()[0]
    assert raiser.status == "partial"
    assert len(raiser.problems) == len(caplog.records) == 2
    assert raiser.problems[0].startswith("on_item_end raised ZeroDivisionError: no reason (test_manager.py, line")
    assert raiser.problems[1].startswith("on_run_end raised SystemExit: 3")


def test_ctrl_c_in_a_life_cycle_hook_is_not_swallowed(manager: PluginManager) -> None:
    class Interrupted:
        @hookimpl
        def on_item_end(self) -> None:
            raise KeyboardInterrupt

    manager.register(Interrupted(), "interrupted")
    with pytest.raises(KeyboardInterrupt):
        manager.call_lifecycle("on_item_end", outcome=DONE)


def test_a_misspelt_life_cycle_call_names_the_nearest_hook(manager: PluginManager) -> None:
    with pytest.raises(ArgumentError, match=r"'on_run_stop'; did you mean 'on_run_"):
        manager.call_lifecycle("on_run_stop", run=RUN)


def test_plugins_are_called_in_the_order_of_registration(manager: PluginManager) -> None:
    order: list[int] = []

    class Plugin:
        def __init__(self, number: int) -> None:
            self.number = number

        @hookimpl
        def on_run_start(self) -> None:
            order.append(self.number)

    for number in range(4):
        manager.register(Plugin(number), f"plugin-{number}")
    manager.call_lifecycle("on_run_start", run=RUN)
    assert order == [0, 1, 2, 3]


def test_unregistering_leaves_no_trace() -> None:
    own = tables()
    manager = PluginManager(find=list, tables=own)
    listener = Listener()

    class Plugin(Listener):
        @hookimpl
        def register_transforms(self, register: Any) -> None:
            register(Mine)

    manager.register(Plugin(), "mine")
    manager.register(listener, "listener")
    manager.unregister("mine")
    manager.unregister("listener")
    manager.call_lifecycle("on_run_start", run=RUN)
    assert listener.heard == []
    assert manager.records() == []
    manager.register(Plugin(), "mine")
    assert own["transform"].get("mine") is Mine


def test_a_plugin_name_is_taken_once(manager: PluginManager) -> None:
    manager.register(Listener(), "listener")
    with pytest.raises(PluginError, match="'listener' is already registered"):
        manager.register(Listener(), "listener")


def test_unregistering_what_is_not_there_says_what_is(manager: PluginManager) -> None:
    manager.register(Listener(), "listener")
    with pytest.raises(UnknownNameError, match=r"'lisener'.*expected listener"):
        manager.unregister("lisener")


def test_the_second_of_two_equal_names_is_reported(manager: PluginManager) -> None:
    class Plugin:
        @hookimpl
        def register_transforms(self, register: Any) -> None:
            # The same object under the same name, from two plugins: still two claims.
            register(Mine)

    assert manager.register(Plugin(), "first").status == "ok"
    second = manager.register(Plugin(), "second")
    assert second.status == "failed"
    assert "'mine' is not used: the name is taken by first" in second.problems[0]
    manager.unregister("second")
    assert manager.version("transform", "mine") == "first (registered in this process)"


def test_what_was_registered_by_hand_is_not_overwritten() -> None:
    own = tables()
    own["divergence"].register("city", "first")

    class Plugin:
        @hookimpl
        def register_divergences(self, register: Any) -> None:
            register("second", "city")

    record = PluginManager(find=list, tables=own).register(Plugin(), "plugin")
    assert own["divergence"].get("city") == "first"
    assert "'city' is not used: the name is taken by an object registered by hand" in record.problems[0]


def test_registering_after_the_hook_has_returned_is_an_error(manager: PluginManager) -> None:
    kept: list[Any] = []

    class Plugin:
        @hookimpl
        def register_transforms(self, register: Any) -> None:
            kept.append(register)

    manager.register(Plugin(), "late")
    with pytest.raises(PluginError, match="late: register was called after register_transforms had returned"):
        kept[0](Mine)


def test_an_object_that_raises_when_looked_at_is_refused(manager: PluginManager) -> None:
    class Trap:
        @property
        def name(self) -> str:
            raise RuntimeError("do not look")

    class Plugin:
        @hookimpl
        def register_divergences(self, register: Any) -> None:
            register(Trap())
            register(SimpleNamespace(name="fine"))

    record = manager.register(Plugin(), "trap")
    assert record.provides == {"divergence": ["fine"]}
    assert "cannot be looked at: RuntimeError: do not look" in record.problems[0]


def test_versions_of_built_in_objects_are_ours() -> None:
    assert plugin_version("metric", "si_sdr").startswith("inmf-flow ")
    with pytest.raises(UnknownNameError):
        plugin_version("metric", "no_such_metric")
    with pytest.raises(ArgumentError, match="no such kind"):
        plugin_version("colour", "red")


def found(name: str, load: Any) -> FoundPlugin:
    return FoundPlugin(name, "dist", "1", name, load)


def test_loading_happens_once_and_other_threads_wait_for_it() -> None:
    calls: list[str] = []
    seen: list[int] = []

    def load() -> object:
        calls.append("load")
        time.sleep(0.2)
        return Listener()

    manager = PluginManager(find=lambda: [found("slow", load)], tables=tables())
    threads = [threading.Thread(target=lambda: seen.append(len(manager.records()[0].hooks))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["load"]
    assert seen == [4, 4, 4, 4]


def test_a_plugin_that_loads_slowly_is_named_while_one_waits(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[list[str]] = []

    def load() -> object:
        time.sleep(0.5)
        seen.append(caplog.messages[:])
        return Listener()

    plugins = [found("slow", load), found("fast", Listener)]
    manager = PluginManager(find=lambda: plugins, tables=tables(), patience=0.1)
    with caplog.at_level(logging.WARNING, logger="inmf_flow.plugins"):
        assert [record.status for record in manager.records()] == ["ok", "ok"]
    message = "plugin dist:slow has been loading for 0.1 seconds; to leave it out, set INMF_DISABLE_PLUGINS=dist:slow"
    assert seen == [[message]]
    assert caplog.messages == [message]


def test_a_plugin_may_ask_for_plugins_while_it_is_imported() -> None:
    seen: list[list[str]] = []

    def load() -> object:
        seen.append([record.name for record in manager.records()])
        return Listener()

    manager = PluginManager(find=lambda: [found("curious", load)], tables=tables())
    assert [record.status for record in manager.records()] == ["ok"]
    assert seen == [["curious"]]
