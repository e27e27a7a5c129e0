"""Keys: made once, for the owner's eyes, and refused when they are not."""

import base64
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from twin.domain.errors import Invalid
from twin.vault.keys import Key, load_keys, parse_keys

RAW = bytes(range(32))
OTHER = bytes(range(100, 132))


def test_the_first_start_makes_a_key_for_the_owner_alone(tmp_path):
    path = tmp_path / "data" / "vault.key"
    keys = load_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert load_keys(path) == keys, "the next start finds it"
    assert os.listdir(path.parent) == ["vault.key"], "nothing is left beside it"


def test_two_first_starts_at_once_agree(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(lambda _: load_keys(tmp_path / "vault.key"), range(4)))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_open_is_refused(tmp_path, mode):
    path = tmp_path / "vault.key"
    load_keys(path)
    path.chmod(mode)
    with pytest.raises(Invalid, match=f"{mode:04o}") as caught:
        load_keys(path)
    assert f"chmod 600 {path}" in (caught.value.mend or "")


def test_a_link_is_not_followed(tmp_path):
    load_keys(tmp_path / "real.key")
    (tmp_path / "vault.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(Invalid, match="cannot be read"):
        load_keys(tmp_path / "vault.key")


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode().rstrip("="),
        RAW.hex(),
        RAW.hex().upper(),
        f"  {RAW.hex()} \n",
    ],
)
def test_keys_are_base64_or_hex(text):
    assert parse_keys(text, "TWIN_VAULT_KEY") == (Key(RAW),)


def test_several_keys_the_current_one_first(tmp_path):
    assert parse_keys(f"{OTHER.hex()}, {RAW.hex()}", "TWIN_VAULT_KEY") == (Key(OTHER), Key(RAW))
    path = tmp_path / "vault.key"
    path.touch(0o600)
    path.write_text(f"{OTHER.hex()}\n{RAW.hex()}\n")
    assert load_keys(path) == (Key(OTHER), Key(RAW))


def test_the_environment_wins_and_then_no_file_is_made(tmp_path):
    assert load_keys(tmp_path / "vault.key", RAW.hex()) == (Key(RAW),)
    assert not (tmp_path / "vault.key").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hunter2", "a password is not a key"),
        (RAW[:16].hex(), "half a key"),
        ("00" * 32, "zeroes"),
        (f"{RAW.hex()},{RAW.hex()}", "twice the same"),
        (" , ", "nothing"),
        ("é" * 43, "not base64"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text, reason):
    with pytest.raises(Invalid) as caught:
        parse_keys(text, "TWIN_VAULT_KEY")
    assert caught.value.field == "TWIN_VAULT_KEY", reason
    assert text.strip(" ,") == "" or text not in f"{caught.value.message}{caught.value.mend}"


def test_a_key_does_not_show_itself():
    assert RAW.hex() not in repr(Key(RAW))
    assert repr(RAW) not in repr(Key(RAW))
