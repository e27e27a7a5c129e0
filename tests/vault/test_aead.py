"""Sealed secrets open in their place, under their key, unchanged; and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.domain.errors import Invalid, Unavailable
from twin.ports.vault import Vault
from twin.vault.aead import AeadVault
from twin.vault.keys import Key

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(32, 64)))
PLACE = ("env_1", "db", 1, "password")


@pytest.fixture
def vault():
    return AeadVault([OLD])


def test_it_is_the_port(vault):
    port: Vault = vault
    assert port.unseal(*PLACE, port.seal(*PLACE, "hunter2 ü")) == "hunter2 ü"


def test_the_same_secret_is_never_sealed_the_same(vault):
    assert vault.seal(*PLACE, "x") != vault.seal(*PLACE, "x")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (("env_2", "db", 1, "password"), "another environment"),
        (("env_1", "cache", 1, "password"), "another component"),
        (("env_1", "db", 2, "password"), "an older version put back"),
        (("env_1", "db", 1, "url"), "another name"),
        (("env_1d", "b", 1, "password"), "the same letters, cut elsewhere"),
        (("env_1", "db", 1, "passwor"), "a prefix"),
    ],
)
def test_moved_ciphertext_does_not_open(vault, place, reason):
    sealed = vault.seal(*PLACE, "hunter2")
    with pytest.raises(Unavailable, match="moved"):
        pytest.fail(f"{reason}: {vault.unseal(*place, sealed)}")


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_changed_ciphertext_does_not_open(position, change):
    vault = AeadVault([OLD])
    sealed = bytearray(vault.seal(*PLACE, "hunter2"))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(Unavailable):
        vault.unseal(*PLACE, bytes(sealed))


@given(st.integers(0, 39))
def test_cut_ciphertext_does_not_open(length):
    vault = AeadVault([OLD])
    with pytest.raises(Unavailable):
        vault.unseal(*PLACE, vault.seal(*PLACE, "hunter2")[:length])


def test_keys_rotate_while_everything_still_opens():
    old, both, new = AeadVault([OLD]), AeadVault([NEW, OLD]), AeadVault([NEW])
    sealed = old.seal(*PLACE, "hunter2")
    assert both.unseal(*PLACE, sealed) == "hunter2"
    assert not both.is_current(sealed), "it is to be sealed again"
    resealed = both.seal(*PLACE, both.unseal(*PLACE, sealed))
    assert both.is_current(resealed)
    assert new.unseal(*PLACE, resealed) == "hunter2", "now the old key can go"
    with pytest.raises(Unavailable, match=OLD.id.hex()) as caught:
        new.unseal(*PLACE, sealed)
    assert "TWIN_VAULT_KEY" in (caught.value.mend or "")


def test_a_wrong_key_is_found_at_the_start():
    canary = AeadVault([OLD]).check_value()
    AeadVault([OLD]).verify_check(canary)
    AeadVault([NEW, OLD]).verify_check(canary)
    for vault, check in ((AeadVault([NEW]), canary), (AeadVault([OLD]), canary[:-1]), (AeadVault([OLD]), b"")):
        with pytest.raises(Invalid, match="not the one") as caught:
            vault.verify_check(check)
        assert caught.value.field == "TWIN_VAULT_KEY"


def test_minted_passwords_are_letters_and_digits_of_at_least_128_bits(vault):
    minted = {vault.mint() for _ in range(100)}
    assert len(minted) == 100
    assert all(each.isascii() and each.isalnum() and 62 ** len(each) >= 2**128 for each in minted)
