"""A GitHub on the loopback: what its REST documentation describes, as far as previews use it, and a record of it all.

Answers hold every field that the documentation requires: they are grown from githubkit's models, which are made of
GitHub's own description of its API.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import unquote

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from githubkit_schemas.latest import models

from twin.testing.loopback import Answer, Call, Loopback

Json = dict[str, Any]

APP_ID, INSTALLATION_ID, SLUG = 4711, 815, "twin-previews"
LONGEST = {"description": 140}


class Refused(Exception):
    """An answer that is an error, in GitHub's form."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.answer = _json(status, {"message": message, "documentation_url": "https://docs.github.com/rest"})
        self.answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})


class GitHub:
    """Users, their tokens, one app, repositories. State is public: tests are its people."""

    def __init__(self) -> None:
        self._server = Loopback(self._handle)
        self._ids = itertools.count(1000)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.tokens: dict[str, str] = {}
        self.installed: dict[str, datetime] = {}
        self.repositories: dict[str, Json] = {}
        self.moved: dict[str, str] = {}
        self.calls: list[Call] = []

    async def __aenter__(self) -> GitHub:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._server.__aexit__(*error)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def private_key(self) -> str:
        """The app's, in PEM."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(encoding, form, serialization.NoEncryption()).decode()

    def token(self, login: str) -> str:
        """A personal access token."""
        token = f"ghp_{secrets.token_hex(18)}"
        self.tokens[token] = login
        return token

    def add(self, full_name: str, *, readers: tuple[str, ...]) -> Json:
        """A repository that these logins may see (`*`: all)."""
        repository: Json = {
            "id": next(self._ids),
            "full_name": full_name,
            "readers": readers,
            "people": {},
            "pulls": {},
            "commits": {},
            "statuses": [],
            "deployments": {},
        }
        self.repositories[full_name] = repository
        return repository

    # the way of a call

    async def _handle(self, call: Call) -> Answer:
        self.calls.append(call)
        try:
            answer = self._routed(call)
        except Refused as refused:
            answer = refused.answer
        left = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-used": "1"}
        reset = {"x-ratelimit-reset": str(int(time.time()) + 3600), "x-ratelimit-resource": "core"}
        headers = {"x-github-request-id": secrets.token_hex(8), **left, **reset, **answer.headers}
        if call.method == "GET" and answer.status == 200:
            # The documentation: an ETag comes with most answers; an unchanged one is 304 and costs nothing.
            headers["etag"] = f'W/"{hashlib.sha256(answer.body + repr(answer.headers).encode()).hexdigest()}"'
            if call.headers.get("if-none-match") == headers["etag"]:
                return Answer(status=304, headers={"etag": headers["etag"]})
        return Answer(status=answer.status, headers=headers, body=answer.body)

    def _routed(self, call: Call) -> Answer:
        if "user-agent" not in call.headers:
            raise Refused(403, "Request forbidden by administrative rules.")
        path = call.path
        if path == "/app" or path.startswith("/app/"):
            return self._as_app(call)
        login = self._login(call)
        if path == "/user":
            return _json(200, grown(models.PublicUser, login=login, id=1))
        matched = re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)?", path)
        if matched is None:
            raise Refused(404, "Not Found")
        name, rest = unquote(matched[1]), matched[2] or ""
        if name in self.moved:
            query = f"?{call.target.partition('?')[2]}" if "?" in call.target else ""
            status = 301 if call.method == "GET" else 307
            where = f"http://{call.headers['host']}/repos/{self.moved[name]}{rest}{query}"
            return Answer(status=status, headers={"location": where}, body=b'{"message": "Moved Permanently"}')
        repository = self.repositories.get(name)
        if repository is None or not {"*", login} & {*repository["readers"]}:
            raise Refused(404, "Not Found")
        for method, pattern, handle in ROUTES:
            if method == call.method and (found := re.fullmatch(pattern, rest)):
                return handle(self, call, login, repository, *(unquote(part) for part in found.groups()))
        raise Refused(404, "Not Found")

    def _login(self, call: Call) -> str:
        kind, _, token = call.headers.get("authorization", "").partition(" ")
        if kind.lower() in ("token", "bearer"):
            if token in self.tokens:
                return self.tokens[token]
            if self.installed.get(token, datetime.min.replace(tzinfo=UTC)) > datetime.now(UTC):
                return f"{SLUG}[bot]"
        raise Refused(401, "Bad credentials")

    def _as_app(self, call: Call) -> Answer:
        _, _, token = call.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(
                token, self.key.public_key(), algorithms=["RS256"], options={"require": ["iss", "iat", "exp"]}
            )
        except jwt.InvalidTokenError:
            raise Refused(401, "A JSON web token could not be decoded") from None
        if claims["iss"] != str(APP_ID) or claims["exp"] - claims["iat"] > 600:
            raise Refused(401, "Integration not found")
        if call.path == "/app":
            return _json(200, grown(models.Integration, id=APP_ID, slug=SLUG))
        if call.method == "POST" and call.path == f"/app/installations/{INSTALLATION_ID}/access_tokens":
            made, until = f"ghs_{secrets.token_hex(18)}", datetime.now(UTC) + timedelta(hours=1)
            self.installed[made] = until
            return _json(201, {"token": made, "expires_at": f"{until:%Y-%m-%dT%H:%M:%SZ}", "permissions": {}})
        raise Refused(404, "Not Found")

    # what stands there

    def _repository(self, call: Call, login: str, repository: Json) -> Answer:
        return _json(200, self._told_repository(repository))

    def _told_repository(self, repository: Json) -> Json:
        name = repository["full_name"]
        return grown(models.Repository, id=repository["id"], full_name=name, name=name.split("/")[1])

    def _told(self, model: type, repository: Json, pull: Json) -> Json:
        head = pull["head_repository"]
        told = self._told_repository(repository)
        fork = head and head != repository["full_name"]
        head_told = self._told_repository(self.repositories[head]) if fork else told if head else None
        more = {"changed_files": len(pull["files"])} if model is models.PullRequest else {}
        return grown(
            model,
            number=pull["number"],
            title=pull["title"],
            state=pull["state"],
            draft=pull["draft"],
            user=grown(models.SimpleUser, login=pull["author"]),
            labels=[{**_label(), "name": name} for name in pull["labels"]],
            html_url=f"https://github.example/{repository['full_name']}/pull/{pull['number']}",
            updated_at=pull["updated_at"],
            merged_at=pull["merged_at"],
            base={"ref": "main", "sha": "b" * 40, "label": "x:main", "user": None, "repo": told},
            head={"ref": pull["branch"], "sha": pull["sha"], "label": "x:y", "user": None, "repo": head_told},
            **more,
        )

    def _pulls(self, call: Call, login: str, repository: Json) -> Answer:
        query = call.query
        wanted = [
            pull
            for pull in sorted(repository["pulls"].values(), key=lambda pull: -pull["number"])
            if query.get("state", "open") in (pull["state"], "all")
        ]
        assert (query.get("sort", "created"), query.get("direction", "desc")) == ("created", "desc")
        return self._paged(call, wanted, lambda pull: self._told(models.PullRequestSimple, repository, pull))

    def _pull(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        return _json(200, self._told(models.PullRequest, repository, self._found(repository, number)))

    def _found(self, repository: Json, number: str) -> Json:
        if int(number) not in repository["pulls"]:
            raise Refused(404, "Not Found")
        found: Json = repository["pulls"][int(number)]
        return found

    def _files(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        def told(name: str) -> Json:
            return grown(models.DiffEntry, filename=name, status="added")

        return self._paged(call, sorted(self._found(repository, number)["files"])[:3000], told)

    def _paged(self, call: Call, items: list[Any], told: Callable[[Any], Json]) -> Answer:
        size = min(int(call.query.get("per_page", "30")), 100)
        page = int(call.query.get("page", "1"))
        answer = _json(200, [told(item) for item in items[(page - 1) * size : page * size]])
        last = -(-len(items) // size)
        where = f"http://{call.headers['host']}{call.path}?per_page={size}"
        links = [f'<{where}&page={page - 1}>; rel="prev"'] if page > 1 else []
        links += [f'<{where}&page={page + 1}>; rel="next"', f'<{where}&page={last}>; rel="last"'] if page < last else []
        if links:
            answer.headers["link"] = ", ".join(links)
        return answer

    def _permission(self, call: Call, login: str, repository: Json, user: str) -> Answer:
        if user not in repository["people"]:
            raise Refused(404, f"{user} is not a user")
        permission = repository["people"][user]
        known = grown(models.RepositoryCollaboratorPermission, permission=permission, role_name=permission, user=None)
        return _json(200, known)

    def _content(self, call: Call, login: str, repository: Json, path: str) -> Answer:
        files: Mapping[str, bytes] | None = repository["commits"].get(call.query["ref"])
        if files is None:
            raise Refused(404, f"No commit found for the ref {call.query['ref']}")
        if path in files:
            data = files[path]
            told = {
                "type": "file",
                "encoding": "base64",
                "size": len(data),
                "content": base64.encodebytes(data).decode(),
            }
            return _json(200, grown(models.ContentFile, path=path, **told))
        if any(name.startswith(f"{path}/") for name in files):
            return _json(200, [])
        raise Refused(404, "Not Found")

    def _commit(self, call: Call, login: str, repository: Json, sha: str) -> Answer:
        if sha not in repository["commits"]:
            raise Refused(404, "Not Found")
        return _json(200, grown(models.GitCommit, sha=sha))

    # what is said

    def _comments(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        return self._paged(call, self._found(repository, number)["comments"], _told_comment)

    def _comment(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        comment = self.comment(repository, int(self._found(repository, number)["number"]), login, _body(call)["body"])
        return _json(201, _told_comment(comment))

    def comment(self, repository: Json, number: int, author: str, body: str) -> Json:
        """One more comment."""
        comment = {"id": next(self._ids), "author": author, "body": body, "number": number}
        repository["pulls"][number]["comments"].append(comment)
        return comment

    def _edit(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        comment = self._own(repository, login, number)
        comment["body"] = _body(call)["body"]
        return _json(200, _told_comment(comment))

    def _delete(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        comment = self._own(repository, login, number)
        repository["pulls"][comment["number"]]["comments"].remove(comment)
        return Answer(status=204)

    def _own(self, repository: Json, login: str, number: str) -> Json:
        for pull in repository["pulls"].values():
            for comment in pull["comments"]:
                if comment["id"] == int(number):
                    if comment["author"] != login:
                        raise Refused(403, "Must have admin rights to Repository.")
                    found: Json = comment
                    return found
        raise Refused(404, "Not Found")

    def _status(self, call: Call, login: str, repository: Json, sha: str) -> Answer:
        if sha not in repository["commits"]:
            raise Refused(422, f"No commit found for SHA: {sha}")
        latest: dict[str, Json] = {}
        for status in repository["statuses"]:
            if status["sha"] == sha:
                latest[status["context"]] = grown(models.SimpleCommitStatus, **_without_sha(status))
        told = self._told_repository(repository)
        given = {"sha": sha, "state": "pending", "statuses": [*latest.values()], "repository": told}
        return _json(200, grown(models.CombinedCommitStatus, total_count=len(latest), **given))

    def _say(self, call: Call, login: str, repository: Json, sha: str) -> Answer:
        body = _body(call)
        if sha not in repository["commits"]:
            raise Refused(422, f"No commit found for SHA: {sha}")
        if body["state"] not in ("error", "failure", "pending", "success"):
            raise Refused(422, "Validation Failed")
        said = {
            "sha": sha,
            "state": body["state"],
            "context": body.get("context", "default"),
            "description": body.get("description"),
            "target_url": body.get("target_url"),
        }
        repository["statuses"].append(said)
        return _json(201, grown(models.Status, **_without_sha(said)))

    def _deployments(self, call: Call, login: str, repository: Json) -> Answer:
        wanted = [
            each
            for each in sorted(repository["deployments"].values(), key=lambda each: -each["id"])
            if call.query.get("sha", each["sha"]) == each["sha"]
            and call.query.get("environment", each["environment"]) == each["environment"]
        ]
        return self._paged(call, wanted, _told_deployment)

    def _deploy(self, call: Call, login: str, repository: Json) -> Answer:
        body = _body(call)
        if body["ref"] not in repository["commits"]:
            raise Refused(422, f"No ref found for: {body['ref']}")
        if body.get("auto_merge", True) or body.get("required_contexts") != []:
            raise Refused(409, "Conflict: Commit status checks failed for main.")
        made = {
            "id": next(self._ids),
            "sha": body["ref"],
            "environment": body.get("environment", "production"),
            "author": login,
            "said": [],
        }
        repository["deployments"][made["id"]] = made
        return _json(201, _told_deployment(made))

    def _deployment(self, repository: Json, number: str) -> Json:
        if int(number) not in repository["deployments"]:
            raise Refused(404, "Not Found")
        found: Json = repository["deployments"][int(number)]
        return found

    def _deployed(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        return self._paged(call, self._deployment(repository, number)["said"][::-1], _told_deployment_status)

    def _say_deployed(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        body = _body(call)
        deployment = self._deployment(repository, number)
        states = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
        if body["state"] not in states:
            raise Refused(422, "Validation Failed")
        said = {"state": body["state"], "description": body.get("description", "")}
        said["environment_url"] = body.get("environment_url", "")
        deployment["said"].append(said)
        if said["state"] == "success" and body.get("auto_inactive", True):
            for other in repository["deployments"].values():
                if other["environment"] == deployment["environment"] and other["id"] < deployment["id"]:
                    other["said"].append({"state": "inactive", "description": "", "environment_url": ""})
        return _json(201, _told_deployment_status(said))

    def _undeploy(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        said = self._deployment(repository, number)["said"]
        if len(repository["deployments"]) > 1 and not (said and said[-1]["state"] == "inactive"):
            raise Refused(422, "We cannot delete an active deployment unless it is the only deployment.")
        del repository["deployments"][int(number)]
        return Answer(status=204)


ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", r"", GitHub._repository),
    ("GET", r"/pulls", GitHub._pulls),
    ("GET", r"/pulls/(\d+)", GitHub._pull),
    ("GET", r"/pulls/(\d+)/files", GitHub._files),
    ("GET", r"/collaborators/([^/]+)/permission", GitHub._permission),
    ("GET", r"/contents/(.+)", GitHub._content),
    ("GET", r"/git/commits/([0-9a-f]+)", GitHub._commit),
    ("GET", r"/issues/(\d+)/comments", GitHub._comments),
    ("POST", r"/issues/(\d+)/comments", GitHub._comment),
    ("PATCH", r"/issues/comments/(\d+)", GitHub._edit),
    ("DELETE", r"/issues/comments/(\d+)", GitHub._delete),
    ("GET", r"/commits/([^/]+)/status", GitHub._status),
    ("POST", r"/statuses/([0-9a-f]+)", GitHub._say),
    ("GET", r"/deployments", GitHub._deployments),
    ("POST", r"/deployments", GitHub._deploy),
    ("DELETE", r"/deployments/(\d+)", GitHub._undeploy),
    ("GET", r"/deployments/(\d+)/statuses", GitHub._deployed),
    ("POST", r"/deployments/(\d+)/statuses", GitHub._say_deployed),
)


def _json(status: int, body: Any) -> Answer:
    return Answer(status=status, headers={"content-type": "application/json"}, body=json.dumps(body).encode())


def _body(call: Call) -> Json:
    body: Json = json.loads(call.body)
    if len(body.get("description") or "") > LONGEST["description"]:
        raise Refused(422, "Validation Failed: description is too long (maximum is 140 characters)")
    return body


def _label() -> Json:
    look = {"description": None, "color": "ff0000", "default": False}
    return {"id": 1, "node_id": "x", "url": "https://github.example/labels/x", **look}


def _without_sha(status: Json) -> Json:
    return {name: value for name, value in status.items() if name != "sha"}


def _told_comment(comment: Json) -> Json:
    where = f"https://github.example/pull/{comment['number']}#issuecomment-{comment['id']}"
    user = grown(models.SimpleUser, login=comment["author"])
    return grown(models.IssueComment, id=comment["id"], body=comment["body"], html_url=where, user=user)


def _told_deployment(deployment: Json) -> Json:
    creator = grown(models.SimpleUser, login=deployment["author"])
    given = {name: deployment[name] for name in ("id", "sha", "environment")}
    return grown(models.Deployment, creator=creator, **given)


def _told_deployment_status(said: Json) -> Json:
    return grown(models.DeploymentStatus, **said)


def grown(model: Any, **values: Any) -> Json:
    """An answer with these values, and something valid in every other field that the model requires."""
    return {**_seed(model), **values}


@cache
def _seed(model: Any) -> Json:
    schema = model.model_json_schema(by_alias=True)
    seed: Json = _grow(schema, schema.get("$defs", {}))
    model.model_validate(seed)
    return seed


def _grow(schema: Json, known: Json) -> Any:
    if "$ref" in schema:
        return _grow(known[schema["$ref"].rsplit("/", 1)[1]], known)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            null = any(each.get("type") == "null" for each in schema[choice])
            return None if null else _grow(schema[choice][0], known)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        needed = schema.get("required", ())
        return {name: _grow(schema["properties"][name], known) for name in needed}
    if kind == "string":
        return "2026-01-01T00:00:00Z" if schema.get("format") == "date-time" else ""
    return {"integer": 0, "number": 0, "boolean": False, "array": [], "null": None}.get(kind or "")
