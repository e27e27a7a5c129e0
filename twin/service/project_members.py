"""The members of a project: each has a place in all of its environments, those to come too."""

from __future__ import annotations

from twin.domain.environment import Role
from twin.domain.errors import NotFound
from twin.domain.naming import check_name
from twin.domain.near import near_misses
from twin.domain.project import PROJECT, Project, RemoveMember, SetMember, project_id
from twin.ports.changes import Changes
from twin.ports.store import Store, Transition, Tx
from twin.service.principals import Principal, Request
from twin.service.views import MemberView


class ProjectMembers:
    """What edges call about a project's members. A change is accepted at once; a task brings it to the environments."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def all(self, project: str, by: Principal) -> tuple[MemberView, ...]:
        """By name; empty for a project that has none. Needs viewer."""
        by.require("viewer", project)
        check_name(project, "project")
        row = await self._store.entity(PROJECT.kind, project_id(project))
        return _views(row.state if row is not None else None)

    async def one(self, project: str, name: str, by: Principal) -> MemberView:
        """One of them; raises `NotFound`. Needs viewer."""
        found = {each.name: each for each in await self.all(project, by)}
        if name not in found:
            near = near_misses(name, found)
            mend = None if near else f"See who is: twin member ls --project {project}"
            raise NotFound(f"{name!r} is no member of project {project}", field="name", near=near, mend=mend)
        return found[name]

    async def set(
        self, project: str, name: str, request: Request, *, role: Role, until: str | float | None
    ) -> MemberView:
        """Make somebody a member, or change their role or end. `until`: a time, or a span from now such as `8h`. Needs
        operator. Raises `Invalid`."""
        request.by.require("operator", project)
        done = await self._give(project, SetMember(project=project, name=name, role=role, until=until), request)
        return next(each for each in _views(done.after) if each.name == name)

    async def remove(self, project: str, name: str, request: Request) -> None:
        """End somebody's membership, and with it their access and open sessions. Needs operator. Raises `NotFound`."""
        request.by.require("operator", project)
        check_name(project, "project")
        await self._give(project, RemoveMember(project=project, name=name), request)

    async def _give(self, project: str, given: SetMember | RemoveMember, request: Request) -> Transition:
        def give(tx: Tx) -> Transition:
            return tx.transition(PROJECT.kind, project_id(project), given, request.cause)

        done = await self._store.transact(give)
        self._changes.notify(project_id(project))
        return done


def _views(project: Project | None) -> tuple[MemberView, ...]:
    members = project.members.items() if project is not None else ()
    return tuple(MemberView(name=name, role=each.role, until=each.until) for name, each in members)
