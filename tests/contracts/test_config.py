"""Settings: a wrong value names its path, what is known, and the cure; what is not given has a default that runs."""

from datetime import timedelta
from pathlib import Path

import pytest

from driftwheel.config import load
from driftwheel.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    file = folder / "driftwheel.toml"
    file.write_text(text, "utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[store]\nprt = 1", "store: prt: not known, did you mean port?; known: host, port,"),
        ("[store]\nport = 'x'", "store.port: Expected 'int', got 'str'"),
        ("store = 3", "store: is a int, must be a table of host, port,"),
        ("[[policies]]\nname = 'a'", "policies[0]: missing 1 required keyword-only argument: 'signal'"),
        ("[[policies]]\nname = 'a'\nsignal = 'x'\ncooldown = '6 hours'", "policies[0].cooldown: '6 hours' is no duration"),
        ("[[policies]]\nname = 'a'\nsignal = 'x'\napproval = 'maybe'", "policies[0].approval: Invalid enum value 'maybe'"),
        ("[collector]\nhost = '0.0.0.0'", "can be reached from other machines and there is no key"),
        ("[[rules]]\nname = 'slow'\nkind = 'limit'", "rules[slow]: a limit needs `above` or `below`"),
        ("[[rules]]\nname = 'a'\nkind = 'silent'", "rules[0].kind: Invalid enum value 'silent'"),
        (
            "[[rules]]\nname = 'a'\nkind = 'burn'\nsignal = 'error.flag'",
            "rules[a]: a burn rate needs the `signal` of a flag and an `objective`",
        ),
        ("[[rules]]\nname = 'a'\nkind = 'silence'\nby = ['user']", "rules[a].by: ['user'] is not known; known: app, environment,"),
        ("[[actions]]\nname = 'a'\nuse = 'retrain'\n[[actions]]\nname = 'a'\nuse = 'retrain'", "actions: two are called 'a'"),
        ("x = ", "is no TOML"),
    ],
)
def test_a_wrong_setting_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    """The person who edits the file sees what to change."""
    with pytest.raises(ConfigError) as wrong:
        load(written(tmp_path, text), {})

    assert said in str(wrong.value)


def test_a_missing_file_is_told_only_when_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the defaults hold."""
    monkeypatch.chdir(tmp_path)

    assert load(None, {}).collector.port == 4318
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", {})


def test_variables_win_over_the_file_and_those_of_the_sdk_are_not_ours(tmp_path: Path) -> None:
    """Containers set secrets and ports by variables."""
    file = written(tmp_path, "[store]\nport = 1\npassword = 'a'\n[detection.references]\nflag = 300")
    settings = load(file, {"DRIFTWHEEL_STORE__PASSWORD": "b c", "DRIFTWHEEL_DATA": "/tmp/x", "DRIFTWHEEL_APP": "mine"})

    assert (settings.store.port, settings.store.password, settings.data) == (1, "b c", Path("/tmp/x"))
    assert settings.detection.references == {"number": 200, "flag": 300, "vector": 400}


def test_policies_and_rules_read_as_they_are_written(tmp_path: Path) -> None:
    """Durations have units, a list of tables is a list of settings."""
    settings = load(
        written(
            tmp_path,
            """
            [[policies]]
            name = "worse"
            signal = "feedback.*"
            cooldown = "36h"

            [[rules]]
            name = "slow"
            kind = "limit"
            signal = "latency.seconds"
            statistic = "quantile"
            window = "15m"
            above = 5.0

            [[actions]]
            name = "oncall"
            use = "apprise"
            severity = "page"
            on = ["incident", "trigger"]
            params = { url = "slack://a/b/c" }

            [[signals]]
            use = "language"
            params = { main = "pt" }
            """,
        ),
        {},
    )

    assert (settings.policies[0].cooldown, settings.policies[0].approval) == (timedelta(hours=36), "manual")
    assert (settings.rules[0].window, settings.rules[0].quantile, settings.rules[0].severity) == (timedelta(minutes=15), 0.95, "ticket")
    assert (settings.actions[0].on, settings.actions[0].params) == (("incident", "trigger"), {"url": "slack://a/b/c"})
    assert settings.signals[0].params == {"main": "pt"}


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    """As containers are given them; a password of digits stays a password, and keys are a table."""
    (tmp_path / "password").write_text("12345\n", "utf-8")
    (tmp_path / "keys").write_text('{a1 = {sha256 = "%s", tenant = "shop"}}' % ("0" * 64), "utf-8")
    environ = {
        "DRIFTWHEEL_STORE__PASSWORD_FILE": str(tmp_path / "password"),
        "DRIFTWHEEL_COLLECTOR__KEYS_FILE": str(tmp_path / "keys"),
        "DRIFTWHEEL_STORE__CA": str(tmp_path / "ca.pem"),
    }
    settings = load(written(tmp_path, ""), environ)

    assert (settings.store.password, settings.collector.keys["a1"].tenant, settings.store.ca) == ("12345", "shop", tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match=r"DRIFTWHEEL_STORE__PASSWORD_FILE: .*none cannot be read"):
        load(written(tmp_path, ""), {"DRIFTWHEEL_STORE__PASSWORD_FILE": str(tmp_path / "none")})


def test_a_variable_that_names_no_setting_is_told_by_its_name(tmp_path: Path) -> None:
    """The file is not to blame."""
    with pytest.raises(ConfigError, match="DRIFTWHEEL_STROE__PORT: stroe: not known; known: data, "):
        load(written(tmp_path, ""), {"DRIFTWHEEL_STROE__PORT": "1"})
