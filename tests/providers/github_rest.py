"""What GitHub's REST answers and takes, as far as previews use it, and what stands behind it. See `github_server`."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from githubkit_schemas.latest import models

from tests.providers.github_answers import (
    ELSEWHERE,
    Json,
    answer_of,
    grown,
    label,
    told_comment,
    told_deployment,
    told_deployment_status,
    without_sha,
)
from twin.testing.loopback import Answer, Call

LONGEST = {"description": 140}


class Refused(Exception):
    """An answer that is an error, in GitHub's form."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.answer = answer_of(status, {"message": message, "documentation_url": "https://docs.github.com/rest"})
        self.answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})


class Rest:
    """Repositories with their pull requests. State is public: tests are its people. `web`: where people find it."""

    web = "https://github.example"

    def __init__(self) -> None:
        self._ids = itertools.count(1000)
        self.repositories: dict[str, Json] = {}

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

    # what stands there

    def _repository(self, call: Call, login: str, repository: Json) -> Answer:
        return answer_of(200, self.told_repository(repository))

    def told_repository(self, repository: Json) -> Json:
        name = repository["full_name"]
        return grown(
            models.Repository,
            id=repository["id"],
            full_name=name,
            name=name.split("/")[1],
            html_url=f"{self.web}/{name}",
            clone_url=f"{ELSEWHERE}/{name}.git",
        )

    def told(self, model: type, repository: Json, pull: Json) -> Json:
        head = pull["head_repository"]
        told = self.told_repository(repository)
        fork = head and head != repository["full_name"]
        head_told = self.told_repository(self.repositories[head]) if fork else told if head else None
        more = {"changed_files": len(pull["files"])} if model is models.PullRequest else {}
        return grown(
            model,
            number=pull["number"],
            title=pull["title"],
            state=pull["state"],
            draft=pull["draft"],
            user=grown(models.SimpleUser, login=pull["author"]),
            labels=[{**label(), "name": name} for name in pull["labels"]],
            html_url=f"{self.web}/{repository['full_name']}/pull/{pull['number']}",
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
        return self._paged(call, wanted, lambda pull: self.told(models.PullRequestSimple, repository, pull))

    def _pull(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        return answer_of(200, self.told(models.PullRequest, repository, self._found(repository, number)))

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
        answer = answer_of(200, [told(item) for item in items[(page - 1) * size : page * size]])
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
        return answer_of(200, known)

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
            return answer_of(200, grown(models.ContentFile, path=path, **told))
        if any(name.startswith(f"{path}/") for name in files):
            return answer_of(200, [])
        raise Refused(404, "Not Found")

    def _commit(self, call: Call, login: str, repository: Json, sha: str) -> Answer:
        if sha not in repository["commits"]:
            raise Refused(404, "Not Found")
        return answer_of(200, grown(models.GitCommit, sha=sha))

    # what is said

    def _comments(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        return self._paged(call, self._found(repository, number)["comments"], told_comment)

    def _comment(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        comment = self.comment(repository, int(self._found(repository, number)["number"]), login, _body(call)["body"])
        return answer_of(201, told_comment(comment))

    def comment(self, repository: Json, number: int, author: str, body: str) -> Json:
        """One more comment."""
        made = next(self._ids)
        page = f"{self.web}/{repository['full_name']}/pull/{number}#issuecomment-{made}"
        comment = {"id": made, "author": author, "body": body, "number": number, "html_url": page}
        comment["created_at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        repository["pulls"][number]["comments"].append(comment)
        return comment

    def _read(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        return answer_of(200, told_comment(self._written(repository, number)))

    def _edit(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        comment = self._own(repository, login, number)
        comment["body"] = _body(call)["body"]
        return answer_of(200, told_comment(comment))

    def _delete(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        comment = self._own(repository, login, number)
        repository["pulls"][comment["number"]]["comments"].remove(comment)
        return Answer(status=204)

    def _own(self, repository: Json, login: str, number: str) -> Json:
        comment = self._written(repository, number)
        if comment["author"] != login:
            raise Refused(403, "Must have admin rights to Repository.")
        return comment

    def _written(self, repository: Json, number: str) -> Json:
        for pull in repository["pulls"].values():
            for comment in pull["comments"]:
                if comment["id"] == int(number):
                    found: Json = comment
                    return found
        raise Refused(404, "Not Found")

    def _status(self, call: Call, login: str, repository: Json, sha: str) -> Answer:
        if sha not in repository["commits"]:
            raise Refused(422, f"No commit found for SHA: {sha}")
        latest: dict[str, Json] = {}
        for status in repository["statuses"]:
            if status["sha"] == sha:
                latest[status["context"]] = grown(models.SimpleCommitStatus, **without_sha(status))
        told = self.told_repository(repository)
        given = {"sha": sha, "state": "pending", "statuses": [*latest.values()], "repository": told}
        return answer_of(200, grown(models.CombinedCommitStatus, total_count=len(latest), **given))

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
        return answer_of(201, grown(models.Status, **without_sha(said)))

    def _deployments(self, call: Call, login: str, repository: Json) -> Answer:
        wanted = [
            each
            for each in sorted(repository["deployments"].values(), key=lambda each: -each["id"])
            if call.query.get("sha", each["sha"]) == each["sha"]
            and call.query.get("environment", each["environment"]) == each["environment"]
        ]
        return self._paged(call, wanted, told_deployment)

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
        return answer_of(201, told_deployment(made))

    def _deployment(self, repository: Json, number: str) -> Json:
        if int(number) not in repository["deployments"]:
            raise Refused(404, "Not Found")
        found: Json = repository["deployments"][int(number)]
        return found

    def _deployed(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        return self._paged(call, self._deployment(repository, number)["said"][::-1], told_deployment_status)

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
        return answer_of(201, told_deployment_status(said))

    def _undeploy(self, call: Call, login: str, repository: Json, number: str) -> Answer:
        said = self._deployment(repository, number)["said"]
        if len(repository["deployments"]) > 1 and not (said and said[-1]["state"] == "inactive"):
            raise Refused(422, "We cannot delete an active deployment unless it is the only deployment.")
        del repository["deployments"][int(number)]
        return Answer(status=204)


ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", r"", Rest._repository),
    ("GET", r"/pulls", Rest._pulls),
    ("GET", r"/pulls/(\d+)", Rest._pull),
    ("GET", r"/pulls/(\d+)/files", Rest._files),
    ("GET", r"/collaborators/([^/]+)/permission", Rest._permission),
    ("GET", r"/contents/(.+)", Rest._content),
    ("GET", r"/git/commits/([0-9a-f]+)", Rest._commit),
    ("GET", r"/issues/(\d+)/comments", Rest._comments),
    ("POST", r"/issues/(\d+)/comments", Rest._comment),
    ("GET", r"/issues/comments/(\d+)", Rest._read),
    ("PATCH", r"/issues/comments/(\d+)", Rest._edit),
    ("DELETE", r"/issues/comments/(\d+)", Rest._delete),
    ("GET", r"/commits/([^/]+)/status", Rest._status),
    ("POST", r"/statuses/([0-9a-f]+)", Rest._say),
    ("GET", r"/deployments", Rest._deployments),
    ("POST", r"/deployments", Rest._deploy),
    ("DELETE", r"/deployments/(\d+)", Rest._undeploy),
    ("GET", r"/deployments/(\d+)/statuses", Rest._deployed),
    ("POST", r"/deployments/(\d+)/statuses", Rest._say_deployed),
)


def _body(call: Call) -> Json:
    body: Json = json.loads(call.body)
    if len(body.get("description") or "") > LONGEST["description"]:
        raise Refused(422, "Validation Failed: description is too long (maximum is 140 characters)")
    return body
