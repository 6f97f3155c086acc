"""Many broken distributions beside good ones, loaded in one process: each is named, and the rest works."""

from __future__ import annotations

from typing import Any

import pytest

Records = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def records(shared_site: Any, transform_source: Any) -> Records:
    site, transform = shared_site, transform_source
    site.install("a-broken-import", {"broken": "broken_module"}, {"broken_module": "import no_such_module\n"})
    site.install("b-exits", {"exits": "exits_module"}, {"exits_module": "raise SystemExit('bye')\n"})
    site.install("c-missing", {"missing": "never_written"})
    half = transform("half").replace("register(T)", "register(T)\n    raise ValueError('half-way')")
    half += "\n\n@hookimpl\ndef on_run_start(run):\n    pass\n"
    site.install("d-half", {"half": "half_module"}, {"half_module": half})
    old = transform("old", "api_version = 99") + "    register(type('New', (Stft,), {'name': 'new'}))\n"
    site.install("e-old", {"old": "old_module"}, {"old_module": old})
    site.install("f-twin", {"twin": "twin_one"}, {"twin_one": transform("twin-one")})
    site.install("g-twin", {"twin": "twin_two"}, {"twin_two": transform("twin-two")})
    site.install("h-rival", {"rival": "rival_module"}, {"rival_module": transform("stft")})
    misspelt = (
        transform("spelt") + "\n\n@hookimpl\ndef on_item_ends(outcome):\n    pass\n\n\n"
        "@hookimpl(optionalhook=True)\ndef on_the_moon():\n    pass\n"
    )
    site.install("i-misspelt", {"misspelt": "misspelt_module"}, {"misspelt_module": misspelt})
    unmarked = transform("unmarked").replace("@hookimpl\n", "")
    site.install("j-unmarked", {"unmarked": "unmarked_module"}, {"unmarked_module": unmarked})
    unfit = transform("unfit").replace("register_transforms(register)", "register_transforms(registry)")
    site.install("k-unfit", {"unfit": "unfit_module"}, {"unfit_module": unfit})
    things = """
        from abc import abstractmethod


        class Hollow:
            name = "hollow"


        @hookimpl
        def register_transforms(register):
            register(Hollow)
            register(object())
            register(Stft())
            register(Stft, "other")
            register(type("Spaced", (Stft,), {"name": "a b"}))
            abstract = {"name": "abstract", "halo": abstractmethod(Stft.halo)}
            register(type("Abstract", (Stft,), abstract))
            register(type("Fine", (Stft,), {"name": "fine"}))
    """
    site.install("l-things", {"things": "things_module"}, {"things_module": things})
    site.install("m-value", {"value": "this is no module"})
    site.install("n-same", {"one": "same_module", "two": "same_module"}, {"same_module": transform("same")})
    site.install("q-nameless", {"nameless": "nameless"}, {"nameless": transform("nameless")}, metadata=False)
    site.install("r-class", {"class": "class_module:Plugin"}, {"class_module": "class Plugin:\n    pass\n"})
    site.install("s-empty", {"empty": "empty_module"}, {"empty_module": ""})
    site.install("t-off", {"off": "off_module"}, {"off_module": "raise AssertionError('it was imported')\n"})
    site.install("z-good", {"good": "good_module"}, {"good_module": transform("good")}, version="7.0")
    return site.records(INMF_DISABLE_PLUGINS="t-off:off")


def only_problem(record: dict[str, Any]) -> str:
    (problem,) = record["problems"]
    return str(problem)


def test_what_works_goes_on_beside_what_is_broken(records: Records) -> None:
    good = records["z-good:good"]
    assert good["status"] == "ok"
    assert good["provides"] == {"transform": ["good"]}
    assert (good["distribution"], good["version"], good["module"]) == ("z-good", "7.0", "good_module")
    assert records["inmf-flow:stft"]["provides"] == {"transform": ["stft"]}


def test_our_own_come_first_and_the_rest_is_in_order_of_names(records: Records) -> None:
    ours = [key for key in records if key.startswith("inmf-flow:")]
    assert list(records)[: len(ours)] == sorted(ours)
    assert list(records)[len(ours) :] == sorted(list(records)[len(ours) :])


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("a-broken-import:broken", ["loading broken_module failed", "no_such_module", "line 4"]),
        ("b-exits:exits", ["loading exits_module failed", "SystemExit: bye"]),
        ("c-missing:missing", ["loading never_written failed", "No module named 'never_written'"]),
        ("k-unfit:unfit", ["does not fit its spec", "registry"]),
        ("m-value:value", ["'this is no module'", "expected the name of a module"]),
        ("n-same:two", ["the same module as the plugin n-same:one"]),
        ("r-class:class", ["the class Plugin", "expected a module"]),
        ("s-empty:empty", ["implements no hook"]),
        ("t-off:off", ["disabled by the environment variable INMF_DISABLE_PLUGINS"]),
        ("j-unmarked:unmarked", ["register_transforms is not called", "hookimpl"]),
        ("h-rival:rival", ["'stft' is not used", "taken by inmf-flow:stft"]),
    ],
)
def test_a_plugin_of_which_nothing_works_says_why(records: Records, key: str, parts: list[str]) -> None:
    assert records[key]["status"] == "failed"
    assert records[key]["provides"] == {}
    for part in parts:
        assert part in only_problem(records[key])


def test_what_a_raising_hook_had_registered_is_taken_back(records: Records) -> None:
    record = records["d-half:half"]
    assert record["status"] == "partial"
    assert record["provides"] == {}
    assert record["hooks"] == ["on_run_start"]
    assert "register_transforms raised ValueError: half-way (half_module.py" in only_problem(record)
    assert "taken back: half" in only_problem(record)


def test_a_transform_of_another_api_version_is_refused_alone(records: Records) -> None:
    record = records["e-old:old"]
    assert record["status"] == "partial"
    assert record["provides"] == {"transform": ["new"]}
    assert "'old' has api_version 99; this inmf_flow supports 1" in only_problem(record)


def test_distributions_with_the_same_entry_point_name_are_both_loaded(records: Records) -> None:
    assert records["f-twin:twin"]["provides"] == {"transform": ["twin-one"]}
    assert records["f-twin:twin"]["status"] == "ok"
    assert records["g-twin:twin"]["provides"] == {"transform": ["twin-two"]}
    assert "f-twin 1.2.3 has an entry point named 'twin' too" in only_problem(records["g-twin:twin"])


def test_a_misspelt_hook_is_named_with_the_nearest_one(records: Records) -> None:
    record = records["i-misspelt:misspelt"]
    assert record["status"] == "partial"
    assert record["provides"] == {"transform": ["spelt"]}
    assert only_problem(record) == "there is no hook named 'on_item_ends'; did you mean 'on_item_end'?"


def test_objects_that_are_no_transforms_are_refused_one_by_one(records: Records) -> None:
    record = records["l-things:things"]
    assert record["provides"] == {"transform": ["fine"]}
    assert record["problems"] == [
        "transform 'hollow' is not a Transform: it has no analyze, synthesize, halo, Config, invertible",
        "an instance of object has no name; expected a text attribute `name`",
        "transform 'stft' is an instance of Stft; expected a Transform class",
        "transform 'other' calls itself 'stft'; expected one name",
        "transform 'a b' has a bad name; expected a letter, then letters, digits, '_', '-' and '.'",
        "transform 'abstract' cannot be made: halo is still abstract",
    ]


def test_a_distribution_without_metadata_is_loaded_all_the_same(records: Records) -> None:
    (record,) = [record for record in records.values() if record["name"] == "nameless"]
    assert record["provides"] == {"transform": ["nameless"]}


def test_transforms_of_plugins_are_found_by_name_with_their_version(records: Records, shared_site: Any) -> None:
    code = """
        from inmf_flow.plugins import plugin_version
        from inmf_flow.transform import get_transform
        print(type(get_transform("good:n_fft=64")).__module__, plugin_version("transform", "good"))
        print(plugin_version("transform", "stft"))
        try:
            get_transform("half")
        except LookupError as error:
            print(error)
    """
    lines = shared_site.run(code, INMF_DISABLE_PLUGINS="off").stdout.splitlines()
    assert lines[0] == "good_module z-good 7.0"
    assert lines[1].startswith("inmf-flow ")
    assert "no transform named 'half' is installed" in lines[2]


def test_without_pydantic_transforms_fail_and_fitting_is_untouched(site: Any) -> None:
    code = """
        import sys
        sys.modules["pydantic"] = None
        from inmf_flow.plugins import plugin_records
        from inmf_flow.registry import divergences, fields
        print({record.status for record in plugin_records()}, "hat" in fields, "no_such" in divergences)
    """
    assert site.run(code).stdout.strip() == "{'failed'} True False"
