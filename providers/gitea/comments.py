"""The comments of one pull request by Gitea's API."""

from __future__ import annotations

from providers.gitea import answers
from providers.gitea.client import Client
from twin.forges import failures
from twin.forges.sticky import Comment


class PullComments:
    """See `twin.forges.sticky.Comments`."""

    def __init__(self, client: Client, repository: str, number: int) -> None:
        self._client, self._repository, self._number = client, repository, number

    async def ours(self) -> tuple[Comment, ...]:
        """Gitea gives all comments at once, and their count beside them."""
        me = await self._client.me()
        response = await self._client.call("GET", self._repository, f"/issues/{self._number}/comments")
        if response is None:
            raise await self._gone()
        found = self._client.decoded(response, list[answers.Comment])
        if response.headers.get("x-total-count") != str(len(found)):
            raise failures.not_understood(self._client.name, "the comments are not whole")
        return tuple(_told(each) for each in found if each.user is not None and each.user.id == me.id)

    async def create(self, body: str) -> Comment:
        """One more."""
        where = f"/issues/{self._number}/comments"
        response = await self._client.call("POST", self._repository, where, body={"body": body})
        if response is None:
            raise await self._gone()
        return _told(self._client.decoded(response, answers.Comment))

    async def edit(self, comment: int, body: str) -> bool:
        """Another body. 204 is Gitea's word for one that is no comment of an issue any more."""
        where = f"/issues/comments/{comment}"
        response = await self._client.call("PATCH", self._repository, where, body={"body": body})
        return response is not None and response.status_code != 204

    async def delete(self, comment: int) -> None:
        """Away with it."""
        await self._client.call("DELETE", self._repository, f"/issues/comments/{comment}")

    async def _gone(self) -> Exception:
        return await self._client.gone(self._repository, f"pull request {self._number}")


def _told(comment: answers.Comment) -> Comment:
    return Comment(id=comment.id, body=comment.body, url=comment.html_url)
