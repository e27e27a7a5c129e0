"""Settings: read from the environment, refused with a mend, documented from one source."""

from pathlib import Path

import pytest

from twin.domain.errors import Invalid
from twin.settings import describe, read, table, unknown

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


def test_without_variables_everything_has_a_default(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    settings = read({}, terminal=True)
    assert settings.data_dir == Path("/home/ada/.local/share/twin")
    assert settings.database_url == "sqlite:////home/ada/.local/share/twin/twin.db"
    assert (settings.host, settings.port, settings.log_format) == ("127.0.0.1", 8420, "console")
    assert read({}, terminal=False).log_format == "json"


def test_the_data_folder_follows_xdg_and_everything_follows_it():
    assert read({"XDG_DATA_HOME": "/xdg"}).data_dir == Path("/xdg/twin")
    assert read({"XDG_DATA_HOME": "not/absolute"}).data_dir.is_absolute()
    settings = read({"TWIN_DATA_DIR": "/data", "XDG_DATA_HOME": "/xdg"})
    files = (
        settings.token_file,
        settings.vault_key_file,
        settings.database_file,
        settings.local_dir,
        settings.process_dir,
        settings.pulumi_dir,
    )
    assert {each.parent for each in files} == {Path("/data")}
    assert settings.database_url == f"sqlite:///{settings.database_file}"


def test_values_are_typed():
    settings = read(
        {
            "TWIN_PORT": " 9000 ",
            "TWIN_LEASE": "2m",
            "TWIN_DRAIN": "7.5",
            "TWIN_STEP_DEADLINE": "1h",
            "TWIN_TARGETS_FILE": "/etc/twin/targets.yaml",
            "TWIN_LOCAL": "off",
            "TWIN_URL": "https://twin.example/",
            "TWIN_SLOTS": "",
        }
    )
    assert (settings.port, settings.lease, settings.drain, settings.step_deadline) == (9000, 120, 7.5, 3600)
    assert settings.targets_file == Path("/etc/twin/targets.yaml")
    assert (settings.local, settings.url) == ("off", "https://twin.example")
    assert settings.slots == 16, "an empty variable counts as absent"


@pytest.mark.parametrize(
    ("variable", "value", "telling"),
    [
        ("TWIN_PORT", "99999", "65535"),
        ("TWIN_PORT", "http", "a number from 0 to 65535"),
        ("TWIN_LEASE", "0", "duration"),
        ("TWIN_LEASE", "soon", "not a duration"),
        ("TWIN_LEASE", "nan", "duration"),
        ("TWIN_LOCAL", "maybe", "`auto`, `on`, `off`"),
        ("TWIN_URL", "localhost:8420", "http://HOST:PORT"),
        ("TWIN_HOST", "a b", "one word"),
        ("TWIN_SLOTS", "0", "1"),
    ],
)
def test_a_bad_value_names_the_variable_the_problem_and_the_mend(variable, value, telling):
    with pytest.raises(Invalid) as caught:
        read({variable: value})
    assert caught.value.field == variable
    assert caught.value.message.startswith(f"{variable} is {value!r}: ")
    assert telling in f"{caught.value.message} {caught.value.mend}"
    assert "unset it" in (caught.value.mend or "")


@pytest.mark.parametrize(
    ("variable", "value"), [("TWIN_DATABASE_URL", "mysql://u:hunter2@h/d"), ("TWIN_TOKEN", "hunter2 hunter2")]
)
def test_a_bad_secret_is_not_shown(variable, value):
    with pytest.raises(Invalid) as caught:
        read({variable: value})
    assert "hunter2" not in f"{caught.value.message}{caught.value.mend}"


def test_secrets_do_not_show_in_a_traceback():
    settings = read(
        {"TWIN_TOKEN": "hunter2", "TWIN_VAULT_KEY": "hunter3", "TWIN_DATABASE_URL": "postgresql://u:hunter4@h/d"}
    )
    assert settings.token == "hunter2"
    assert "hunter" not in f"{settings!r}{settings}"


def test_a_misspelt_variable_is_pointed_out():
    assert unknown(["TWIN_PORT", "PATH", "TWIN_PROT"]) == [
        "TWIN_PROT is not a setting and has no effect; did you mean TWIN_PORT?"
    ]


def test_every_setting_says_what_it_is_for():
    for row in describe():
        assert row.meaning, row.variable
        assert row.default, row.variable


def test_the_page_of_settings_is_up_to_date():
    assert table() in DOCS.read_text(), "python -m twin.settings prints the table"
