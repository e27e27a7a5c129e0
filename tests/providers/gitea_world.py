"""A real Gitea on the loopback: users with tokens, repositories with commits by git, pull requests."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from providers.local.ports import HOST, choose
from tests.waiting import eventually

PROJECT = Path(__file__).parent.parent.parent
PROGRAM = PROJECT / ".tools" / "gitea"
FILES = PROJECT / ".tools" / "gitea-files"

PER_PAGE = 3
"""Entries of a page at most, whatever is asked for: few pull requests fill more than one."""

PASSWORD = "correct-horse-battery-staple"
FIRST = "chief"

Json = dict[str, Any]

_INI = """
RUN_MODE = prod
RUN_USER = {user}
WORK_PATH = {directory}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true

[server]
PROTOCOL = http
HTTP_ADDR = {host}
HTTP_PORT = {port}
ROOT_URL = http://{host}:{port}/
STATIC_ROOT_PATH = {files}
APP_DATA_PATH = {directory}/data
DISABLE_SSH = true
OFFLINE_MODE = true

[database]
DB_TYPE = sqlite3
PATH = {directory}/gitea.db
SQLITE_JOURNAL_MODE = WAL
SQLITE_TIMEOUT = 5000

[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
INTERNAL_TOKEN = {secret}

[api]
ENABLE_SWAGGER = false
MAX_RESPONSE_ITEMS = {per_page}
DEFAULT_PAGING_NUM = {per_page}

[repository]
ROOT = {directory}/repositories
DEFAULT_BRANCH = main

[service]
DISABLE_REGISTRATION = true

[webhook]
ALLOWED_HOST_LIST = loopback

[indexer]
ISSUE_INDEXER_TYPE = db

[queue]
TYPE = channel

[session]
PROVIDER = memory

[log]
MODE = console
LEVEL = Warn

[oauth2]
ENABLED = false
[actions]
ENABLED = false
[packages]
ENABLED = false
[cron]
ENABLED = false
[picture]
DISABLE_GRAVATAR = true
"""


class Account:
    """A user with a token that may do all that the user may."""

    def __init__(self, url: str, login: str, token: str) -> None:
        self.login, self.token = login, token
        self._http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"token {token}"}, timeout=60, trust_env=False
        )

    def call(self, method: str, path: str, body: Json | None = None, **query: Any) -> Any:
        """What the API answers. An error of the API is one of the test."""
        response = self._http.request(method, path, json=body, params=query or None)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def has(self, path: str) -> bool:
        """Whether something is there for this user."""
        return self._http.get(path).is_success

    def close(self) -> None:
        self._http.close()


class Gitea:
    """A server that runs."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url, self.api_url, self._directory = url, f"{url}/api/v1", directory
        self._accounts: dict[str, Account] = {}
        self._names = iter(range(1, 1_000_000))

    @property
    def chief(self) -> Account:
        """The administrator of all."""
        return self._accounts[FIRST]

    def add(self, login: str) -> Account:
        """A user; the one of that name, if there is one."""
        if login not in self._accounts:
            if self._accounts:
                self.chief.call(
                    "POST",
                    "/admin/users",
                    {
                        "username": login,
                        "email": f"{login}@twin.example",
                        "password": PASSWORD,
                        "must_change_password": False,
                    },
                )
            self._accounts[login] = Account(self.url, login, self.token(login))
        return self._accounts[login]

    def token(self, login: str, *scopes: str) -> str:
        """One more token of a user, for all or for these scopes."""
        response = httpx.post(
            f"{self.api_url}/users/{login}/tokens",
            json={"name": f"token-{next(self._names)}", "scopes": list(scopes or ("all",))},
            auth=(login, PASSWORD),
            timeout=60,
            trust_env=False,
        )
        assert response.status_code == 201, response.text
        return str(response.json()["sha1"])

    def repository(self, owner: Account, name: str, *, private: bool = False) -> Repository:
        """A new repository with a first commit on `main`."""
        body = {"name": name, "private": private, "default_branch": "main", "auto_init": True}
        owner.call("POST", "/user/repos", body)
        return self._open(owner, f"{owner.login}/{name}")

    def fork(self, repository: Repository, by: Account) -> Repository:
        """A fork, under the repository's name; the one that there is."""
        name = repository.full_name.split("/")[1]
        if not by.has(f"/repos/{by.login}/{name}"):
            by.call("POST", f"/repos/{repository.full_name}/forks", {})
        return self._open(by, f"{by.login}/{name}")

    def _open(self, owner: Account, full_name: str) -> Repository:
        tree = self._directory / "trees" / f"{full_name.replace('/', '--')}-{next(self._names)}"
        return Repository(f"{self.url}/{full_name}.git", full_name, owner, tree)

    def close(self) -> None:
        for account in self._accounts.values():
            account.close()


class Repository:
    """A repository, and a clone of it in which commits are made. Its owner does everything, unless told otherwise."""

    def __init__(self, url: str, full_name: str, owner: Account, tree: Path) -> None:
        self.url, self.full_name, self.owner, self._tree = url, full_name, owner, tree
        self.path = f"/repos/{full_name}"

    def commit(
        self,
        branch: str,
        files: Mapping[str, str | bytes | None],
        *,
        on: str = "main",
        by: Account | None = None,
        force: bool = False,
    ) -> str:
        """Push a commit that writes `files` (None removes one) to `branch`, on top of it if it is there, else of `on`;
        with `force` always of `on`. Its id."""
        if not self._tree.exists():
            self._tree.mkdir(parents=True)
            self._git("init", "--quiet", "--initial-branch=main")
            self._git("remote", "add", "origin", self.url)
        pusher = by or self.owner
        self._git("fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*", by=pusher)
        bases = (f"origin/{on}",) if force else (f"origin/{branch}", f"origin/{on}")
        base = next((each for each in bases if self._has(each)), None)
        if base:
            self._git("checkout", "--quiet", "--force", "-B", branch.removeprefix("refs/heads/"), base)
        for name, content in files.items():
            path = self._tree / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", f"Change {', '.join(files)}")
        self._git("push", "--quiet", *(["--force"] if force else []), "origin", f"HEAD:refs/heads/{branch}", by=pusher)
        return self._git("rev-parse", "HEAD")

    def copy(self, branch: str, *names: str) -> None:
        """More branches at a branch's last commit, by one push."""
        self._git("push", "--quiet", "origin", *(f"origin/{branch}:refs/heads/{each}" for each in names), by=self.owner)

    def pull(
        self, branch: str, *, title: str = "A change", base: str = "main", by: Account | None = None, head: str = ""
    ) -> int:
        """Open a pull request of a branch (`head`: of another repository, `owner:branch`). Its number."""
        body = {"head": head or branch, "base": base, "title": title}
        return int((by or self.owner).call("POST", f"{self.path}/pulls", body)["number"])

    def edit(self, number: int, **fields: Any) -> None:
        """Change a pull request: title, base, state."""
        self.owner.call("PATCH", f"{self.path}/pulls/{number}", fields)

    def merge(self, number: int) -> None:
        """Merge a pull request; Gitea first finds out whether it can be."""

        def try_to() -> bool:
            with contextlib.suppress(AssertionError):
                self.owner.call("POST", f"{self.path}/pulls/{number}/merge", {"Do": "merge"})
            return bool(self.owner.call("GET", f"{self.path}/pulls/{number}")["merged"])

        eventually(try_to)

    def label(self, number: int, *names: str) -> None:
        """Give a pull request these labels, made where they are not there."""
        known = {each["name"]: each["id"] for each in self.owner.call("GET", f"{self.path}/labels")}
        for name in names:
            if name not in known:
                body = {"name": name, "color": "#00aabb"}
                known[name] = self.owner.call("POST", f"{self.path}/labels", body)["id"]
        self.owner.call("POST", f"{self.path}/issues/{number}/labels", {"labels": [known[name] for name in names]})

    def comment(self, number: int, body: str, *, by: Account | None = None) -> int:
        """Comment on a pull request; the comment's id."""
        return int((by or self.owner).call("POST", f"{self.path}/issues/{number}/comments", {"body": body})["id"])

    def comments(self, number: int) -> list[Json]:
        """All comments of a pull request, oldest first."""
        return list(self.owner.call("GET", f"{self.path}/issues/{number}/comments"))

    def statuses(self, sha: str) -> list[Json]:
        """The latest status of each context."""
        return list(self.owner.call("GET", f"{self.path}/commits/{sha}/status").get("statuses") or ())

    def let_in(self, account: Account, permission: str) -> None:
        """Make somebody a collaborator: `read`, `write` or `admin`."""
        self.owner.call("PUT", f"{self.path}/collaborators/{account.login}", {"permission": permission})

    def webhook(self, url: str, secret: str, *events: str) -> int:
        """Have events sent to `url`, signed with `secret`; the hook's id."""
        body = {
            "type": "gitea",
            "config": {"url": url, "content_type": "json", "secret": secret},
            "events": list(events),
            "active": True,
        }
        return int(self.owner.call("POST", f"{self.path}/hooks", body)["id"])

    def rename(self, name: str) -> None:
        """Give it another name, of the same owner."""
        before, self.full_name = self.full_name, f"{self.full_name.split('/')[0]}/{name}"
        self.owner.call("PATCH", self.path, {"name": name})
        self.path, self.url = f"/repos/{self.full_name}", self.url.replace(before, self.full_name)
        if self._tree.exists():
            self._git("remote", "set-url", "origin", self.url)

    def remove(self) -> None:
        """Delete it."""
        self.owner.call("DELETE", self.path)

    def _has(self, ref: str) -> bool:
        return self._run("rev-parse", "--verify", "--quiet", ref).returncode == 0

    def _git(self, *words: str, by: Account | None = None) -> str:
        done = self._run(*words, by=by)
        assert done.returncode == 0, f"git {words}: {done.stderr}"
        return done.stdout.strip()

    def _run(self, *words: str, by: Account | None = None) -> subprocess.CompletedProcess[str]:
        author = by or self.owner
        settings = {
            "user.name": author.login,
            "user.email": f"{author.login}@twin.example",
            "commit.gpgsign": "false",
            "core.hooksPath": os.devnull,
            "http.extraHeader": f"Authorization: token {author.token}",
        }
        environment = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": str(len(settings)),
            "no_proxy": HOST,
        }
        for at, (name, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{at}": name, f"GIT_CONFIG_VALUE_{at}": value}
        return subprocess.run(
            ["git", *words], cwd=self._tree, env=environment, capture_output=True, text=True, check=False, timeout=120
        )


@contextmanager
def running(directory: Path) -> Iterator[Gitea]:
    """A Gitea with its administrator, until the end."""
    assert PROGRAM.exists(), "there is no gitea: make tools"
    port = choose(None)
    url = f"http://{HOST}:{port}"
    ini = directory / "app.ini"
    ini.write_text(
        _INI.format(
            user=getpass.getuser(),
            directory=directory,
            host=HOST,
            port=port,
            files=FILES,
            per_page=PER_PAGE,
            secret=secrets.token_hex(32),
        )
    )
    environment = {**os.environ, "GITEA_WORK_DIR": str(directory)}

    def gitea(*words: str) -> list[str]:
        return [str(PROGRAM), "--config", str(ini), *words]

    written = directory / "gitea.log"
    with written.open("wb") as log:
        process = subprocess.Popen(gitea("web"), env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        server = Gitea(url, directory)
        try:
            eventually(lambda: process.poll() is not None or _answers(url), within=120, why=written.read_text)
            assert process.poll() is None, written.read_text()
            account = ("--username", FIRST, "--password", PASSWORD, "--email", f"{FIRST}@twin.example", "--admin")
            made = subprocess.run(
                gitea("admin", "user", "create", *account, "--must-change-password=false"),
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert made.returncode == 0, made.stdout + made.stderr
            server.add(FIRST)
            yield server
        finally:
            server.close()
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/api/healthz", timeout=5, trust_env=False).is_success
    return False
