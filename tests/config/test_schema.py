"""One checker for every table of the TOML file: the fields of a dataclass are the schema."""

from __future__ import annotations

import pytest

from fmnist_tfds import errors
from fmnist_tfds.config import schema, settings
from fmnist_tfds.training import config as training_config


def _check(table, kind, **options):
    return schema.check(
        table, kind, "[t]", lambda text, hint: errors.ConfigError(text, hint=hint), **options
    )


@pytest.mark.parametrize(
    ("kind", "table", "said"),
    [
        (settings.Network, {"trust": "s3cret"}, "[t].trust: expected one of system, certifi; got"),
        (settings.Network, {"attempts": True}, "[t].attempts: expected a whole number, got true"),
        (settings.Network, {"attempts": 2.5}, "[t].attempts: expected a whole number, got a num"),
        (settings.Network, {"deadline_s": float("nan")}, "[t].deadline_s: expected more than 0"),
        (settings.Network, {"backoff_s": -1}, "[t].backoff_s: expected at least 0, got -1"),
        (settings.Network, {"proxy": 3128}, "[t].proxy: expected a string, got a number"),
        (settings.Mirror, {"headers": "s3cret"}, "[t].headers: expected a table, got a string"),
        (settings.Mirror, {"auth": "s3cret"}, "[t].auth: expected a table, got a string"),
        (settings.Mirror, {"insecure_tls": 1}, "[t].insecure_tls: expected true or false, got a"),
        (training_config.TrainingConfig, {"dataset": "s3cret"}, "[t].dataset: expected one of"),
        (training_config.TrainingConfig, {"epochs": 0}, "[t].epochs: expected more than 0"),
        (settings.Network, ["s3cret"], "[t]: expected a table, got an array"),
    ],
)
def test_a_wrong_value_is_named_by_its_key_and_never_shown(kind, table, said):
    with pytest.raises(errors.ConfigError) as caught:
        _check(table, kind)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_unknown_key_comes_with_the_nearest_valid_one():
    with pytest.raises(errors.ConfigError) as caught:
        _check({"tokn": "s3cret"}, settings.Auth, keys=("type", "token"))
    assert "'tokn'" in str(caught.value)
    assert "'token'" in caught.value.hint


def test_right_values_are_taken_as_they_stand():
    table = {"connect_timeout_s": 3, "backoff_s": 0, "trust": "certifi", "ca_bundle": "ca.pem"}
    assert _check(table, settings.Network) == table
