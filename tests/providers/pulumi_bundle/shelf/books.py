"""A dynamic provider whose world is a directory: a file is a resource, and a log keeps what was done to it."""

import os
import time

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult


def note(directory, what, name):
    """Tell the test what is happening, in one write."""
    with open(os.path.join(directory, "log"), "a") as log:
        log.write(f"{what} {name}\n")


class BookProvider(ResourceProvider):
    """Creation is not idempotent, as with most clouds: done twice, there are two."""

    def create(self, props):
        directory, name = props["directory"], props["title"]
        note(directory, "creating", name)
        if props.get("refuse"):
            raise Exception(props["refuse"])
        number = len([each for each in os.listdir(directory) if each.partition("#")[0] == name])
        path = os.path.join(directory, f"{name}#{number}")
        with open(path, "x") as file:
            file.write(props["text"])
        note(directory, "created", name)
        time.sleep(props["delay"])  # between the effect and the answer: where a crash hurts
        return CreateResult(id_=path, outs=dict(props))

    def read(self, id_, props):
        try:
            with open(id_) as file:
                return ReadResult(id_, {**props, "text": file.read()})
        except FileNotFoundError:
            return ReadResult("", {})

    def diff(self, id_, olds, news):
        changed = [name for name in ("text", "delay") if olds.get(name) != news.get(name)]
        replaces = [name for name in ("title", "directory") if olds.get(name) != news.get(name)]
        return DiffResult(changes=bool(changed or replaces), replaces=replaces)

    def update(self, id_, olds, news):
        note(news["directory"], "updating", news["title"])
        with open(id_, "w") as file:
            file.write(news["text"])
        time.sleep(news["delay"])
        return UpdateResult(outs=dict(news))

    def delete(self, id_, props):
        note(props["directory"], "deleting", props["title"])
        if os.path.exists(id_):
            os.remove(id_)
        time.sleep(props["delay"])

    def lookup(self, props):
        """After a crash: the book, if there is one that no state knows."""
        found = [each for each in os.listdir(props["directory"]) if each.partition("#")[0] == props["title"]]
        return os.path.join(props["directory"], sorted(found)[-1]) if found else None


class SilentProvider(BookProvider):
    """One that nobody can ask."""

    lookup = None


class Book(Resource):
    """A file."""

    def __init__(self, name, props, opts=None, provider=None):
        super().__init__(provider or BookProvider(), name, props, opts)
