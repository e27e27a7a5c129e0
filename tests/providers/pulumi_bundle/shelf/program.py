"""Some books, one after the other."""

import os

import pulumi

from .books import Book, SilentProvider


def books(provider=None):
    """`count` of them, each depending on the one before."""
    config = pulumi.Config()
    before = []
    for number in range(config.get_int("count") or 2):
        props = {
            "directory": config.require("directory"),
            "title": f"{pulumi.get_stack()}-book-{number}",
            "text": config.require("text"),
            "delay": config.get_float("delay") or 0.0,
            "refuse": config.get("refuse") or "",
        }
        kept = {"protect": config.get_bool("protect"), "retain_on_delete": config.get_bool("retain")}
        before = [Book(f"book-{number}", props, pulumi.ResourceOptions(depends_on=before, **kept), provider)]
    pulumi.export("text", config.require("text"))
    pulumi.export("url", pulumi.Output.secret(f"shelf://:{config.get('password') or 'password'}@{os.getpid()}"))


def silent():
    """The same, with a provider that has no `lookup`."""
    books(SilentProvider())


def rotating():
    """A book per live credential."""
    config = pulumi.Config()
    keys = {}
    for version in pulumi.Config("twin").require_object("credentials"):
        props = {
            "directory": config.require("directory"),
            "title": f"{pulumi.get_stack()}-key-{version}",
            "text": f"key {version}",
            "delay": 0.0,
        }
        keys[str(version)] = {"key": Book(f"key-{version}", props).id}
    pulumi.export("credentials", pulumi.Output.secret(keys))


def opens(credential):
    """Whether a key still opens."""
    return os.path.exists(credential["key"])


def leaking():
    """Fails, and tells its password."""
    raise ValueError(f"the password is {pulumi.Config().require('password')}")


def looked_up(kind, name, inputs):
    """The hook for books whose provider is silent."""
    title, directory = inputs["title"], inputs["directory"]
    found = [each for each in os.listdir(directory) if each.partition("#")[0] == title]
    return os.path.join(directory, sorted(found)[-1]) if found else None
