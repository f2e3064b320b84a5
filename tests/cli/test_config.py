"""simdrop.settings.fields: one definition of settings for flags, files and --set."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

import simdrop
from simdrop.cli.compare import CompareSettings
from simdrop.cli.order import OrderSettings
from simdrop.errors import InvalidInput
from simdrop.scale import Point
from simdrop.settings import fields as config
from simdrop.settings.fields import resolve, setting


@dataclass(frozen=True, kw_only=True)
class Small:
    count: int = setting(3, "")
    rate: float = setting(0.5, "")
    name: str = setting("x", "")
    names: tuple[str, ...] = setting((), "")
    on: bool = setting(True, "")
    limit: int | None = setting(None, "")
    scale: float | str = setting(1.0, "")


def toml(tmp_path: Path, text: Any) -> Any:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_set_over_file_over_defaults(tmp_path: Path) -> None:
    path = toml(tmp_path, 'count = 10\nrate = 1\nname = "file"\n')
    found = resolve(Small, {"count": "30", "rate": None}, config=path, assignments=["count=20", "rate=2", "limit=7"])
    assert found == Small(count=30, rate=2.0, name="file", limit=7)


def test_every_type_from_a_file_and_from_text(tmp_path: Path) -> None:
    path = toml(tmp_path, 'count = 1e3\nrate = 2\nnames = ["a", "b"]\non = false\nscale = "1/m"\n')
    expected = Small(count=1000, rate=2.0, names=("a", "b"), on=False, scale="1/m")
    assert resolve(Small, {}, config=path) == expected
    texts = ["count=1e3", "rate=2", 'names=["a", "b"]', "on=false", "scale=1/m"]
    assert resolve(Small, {}, assignments=texts) == expected
    flags = {"count": "1e3", "rate": "2.", "names": ("a", "b"), "on": False, "scale": "1/m"}
    assert resolve(Small, flags) == expected
    assert resolve(Small, {}, config=toml(tmp_path, "scale = {0 = 0.1, 20 = 1e-2}")).scale == "{0: 0.1, 20: 0.01}"
    assert resolve(Small, {}, assignments=["names=a", "name=12", "scale=.5"]) == Small(
        names=("a",), name="12", scale=0.5
    )


@pytest.mark.parametrize("text", ["name=tanh", 'name="tanh"', "name='tanh'", 'name = "tanh"'])
def test_texts_with_and_without_the_quotes_of_toml(text: Any) -> None:
    assert resolve(Small, {}, assignments=[text]).name == "tanh"
    assert resolve(CompareSettings, {}, assignments=[text.replace("name", "activation")]).activation == "tanh"


@pytest.mark.parametrize("text", ['"', 'a"b', 'a"', "'a", "\"a'"])
def test_other_quotes_are_part_of_a_text(text: Any) -> None:
    assert resolve(Small, {}, assignments=[f"name={text}"]).name == text


def test_hyphens_are_underscores(tmp_path: Path) -> None:
    assert resolve(CompareSettings, {}, config=toml(tmp_path, "keep-prob = 0.5")).keep_prob == 0.5
    assert resolve(CompareSettings, {}, assignments=["keep-prob=0.4"]).keep_prob == 0.4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "cuont = 1",
            r"unknown configuration key in .*run\.toml 'cuont': did you mean 'count'\? known are count, rate",
        ),
        ("count = 1.5", r"key 'count' in .*run\.toml must be a whole number, got 1\.5"),
        ("count = true", r"key 'count' in .* must be a whole number, got True"),
        ('rate = "fast"', r"key 'rate' in .* must be a number, got 'fast'"),
        ("name = 1", r"key 'name' in .* must be text, got 1"),
        ("names = [1]", r"key 'names' in .* must be text or a list of texts, got \[1\]"),
        ("on = 1", r"key 'on' in .* must be true or false, got 1"),
        ("scale = []", r"key 'scale' in .* must be a number or text, got \[\]"),
        ("count 1", r"configuration .*run\.toml is not valid TOML: .*line 1"),
    ],
)
def test_files_refused(tmp_path: Path, text: Any, message: Any) -> None:
    with pytest.raises(InvalidInput, match=message):
        resolve(Small, {}, config=toml(tmp_path, text))


def test_command_line_values_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"unknown configuration key in --set 'rte': did you mean 'rate'\?"):
        resolve(Small, {}, assignments=["rte=1"])
    with pytest.raises(InvalidInput, match=r"--set takes key=value, got 'rate'"):
        resolve(Small, {}, assignments=["rate"])
    with pytest.raises(InvalidInput, match=r"--set rate must be a number, got 'fast'"):
        resolve(Small, {}, assignments=["rate=fast"])
    with pytest.raises(InvalidInput, match=r"--count must be a whole number, got 'many'"):
        resolve(Small, {"count": "many"})
    with pytest.raises(InvalidInput, match=r"cannot read configuration .*none\.toml: No such file"):
        resolve(Small, {}, config=tmp_path / "none.toml")


def test_settings_written_are_settings_read(tmp_path: Path) -> None:
    settings = CompareSettings(target=("a b", 'c"d'), samples=None, lr=1e-5, bias=False, output_scale="1/m", memory=7)
    assert resolve(CompareSettings, {}, config=toml(tmp_path, config.as_toml(settings))) == settings
    assert resolve(CompareSettings, {}, config=toml(tmp_path, config.as_toml(CompareSettings()))) == CompareSettings()


@pytest.mark.parametrize("settings", [CompareSettings, OrderSettings, Point])
def test_what_is_left_out_means_the_same_as_in_python(settings: Any) -> None:
    own = Point(data="own.csv") if settings is Point else resolve(settings, {"data": "own.csv"})
    problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
    runs = simdrop.simulate(problem, problem.init(seed=0), lr=0.1, steps=2, members=4, backend="numpy")
    names = ("keep_prob", "output_scale", "activation", "mask", "bias", "train", "loss", "weight_decay")
    python = {name: getattr(problem, name) for name in names}
    python |= {name: runs.attrs[name] for name in ("dtype", "objective", "optimizer", "risk_limit")}
    python["seed"] = int(runs.attrs["seed"])  # as text: larger ones do not fit every format
    shared = [name for name in python if hasattr(own, name)]
    assert len(shared) > len(names)
    assert {name: getattr(own, name) for name in shared} == {name: python[name] for name in shared}


def test_a_command_without_data_runs_its_example(tmp_path: Path) -> None:
    assert resolve(CompareSettings, {}).keep_prob == 0.5
    assert resolve(CompareSettings, {}).output_scale == "1/sqrt(m)"
    assert resolve(CompareSettings, {"keep_prob": "0.8"}).keep_prob == 0.8
    assert resolve(CompareSettings, {}, config=toml(tmp_path, "keep_prob = 0.7")).keep_prob == 0.7
    assert resolve(CompareSettings, {}, assignments=["data=sin"]).keep_prob == 0.9
    assert resolve(OrderSettings, {}).keep_prob == 0.7


def test_every_setting_is_documented_and_its_default_is_one_of_its_choices() -> None:
    for option in fields(CompareSettings):
        assert option.metadata["about"]
        choices = config.choices_of(option)
        default = option.default if isinstance(option.default, tuple) else (option.default,)
        assert not choices or set(default) <= set(choices)
