"""upnext.toml is strict, and its errors help."""

import tomllib

import pytest

from upnext.core.errors import InvalidInput
from upnext.settings.settings import Settings, load, parse
from upnext.settings.template import render


def test_the_written_file_reads_back_as_the_defaults(tmp_path):
    (tmp_path / "upnext.toml").write_text(render(), "utf-8")
    assert load(tmp_path / "upnext.toml").model_dump() == Settings().model_dump()


def test_every_setting_has_a_description():
    def walk(model, name):
        for key, field in model.model_fields.items():
            annotation = field.annotation
            if hasattr(annotation, "model_fields"):
                walk(annotation, f"{name}.{key}")
            elif key != "surfaces":
                assert field.description, f"{name}.{key}"

    walk(Settings, "upnext.toml")


def test_an_unknown_key_names_the_nearest_known_one(tmp_path):
    with pytest.raises(InvalidInput, match=r"unknown key 'serve.prot'; did you mean 'port'"):
        parse({"serve": {"prot": 1}}, "upnext.toml", tmp_path)
    with pytest.raises(InvalidInput, match=r"unknown key 'surfaces.home.sizes'; did you mean"):
        parse({"surfaces": {"home": {"sizes": 1}}}, "upnext.toml", tmp_path)


def test_a_source_that_nobody_knows_is_an_error_unless_it_is_the_platforms_own(tmp_path):
    home = {"sources": {"popular": 5, "relevent": 7}}
    with pytest.raises(InvalidInput, match=r"unknown source 'surfaces.home.sources.relevent'; did you mean 'relevant'"):  # fmt: skip
        parse({"surfaces": {"home": home}}, "upnext.toml", tmp_path)
    own = {"http_sources": {"relevent": {"url": "http://localhost:1"}}}
    settings = parse({"surfaces": {"home": home}, "pipeline": own}, "upnext.toml", tmp_path)
    assert settings.surfaces["home"].sources == home["sources"]


def test_a_wrong_value_says_where_and_what(tmp_path):
    with pytest.raises(InvalidInput, match=r"serve.workers: .*greater than or equal to 1, got 0"):
        parse({"serve": {"workers": 0}}, "upnext.toml", tmp_path)
    with pytest.raises(InvalidInput, match=r"surfaces.home.policy: .*got 1"):
        parse({"surfaces": {"home": {"policy": 1}}}, "upnext.toml", tmp_path)


def test_a_surface_given_in_part_keeps_our_values_for_the_rest(tmp_path):
    settings = parse(tomllib.loads("[surfaces.home]\nsize = 7"), "f", tmp_path)
    assert settings.surfaces["home"].size == 7
    assert settings.surfaces["home"].sources == Settings().surfaces["home"].sources
    assert settings.surfaces["shorts"] == Settings().surfaces["shorts"]


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(InvalidInput, match="upnext init"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = [")
    with pytest.raises(InvalidInput, match="not TOML"):
        load(tmp_path / "bad.toml")
