"""The comments of one pull request by GitHub's API."""

from __future__ import annotations

from providers.github import answers
from providers.github.client import Client
from twin.forges.listing import Page, whole
from twin.forges.sticky import Comment


class PullComments:
    """See `twin.forges.sticky.Comments`."""

    def __init__(self, client: Client, repository: str, number: int) -> None:
        self._client, self._repository, self._number = client, repository, number

    async def ours(self) -> tuple[Comment, ...]:
        """Those whose author has our login: it is one user's alone, and nobody else's can end with `[bot]`."""
        me = (await self._client.me()).lower()

        async def page(at: int) -> Page[answers.Comment]:
            found = await self._client.page(
                answers.Comment, self._repository, lambda rest: rest.issues.async_list_comments, at, self._number
            )
            if found is None:
                raise await self._client.gone(self._repository, f"pull request {self._number}")
            return found

        what = f"{self._client.name}, comments of {self._repository} {self._number}"
        found, _ = await whole(what, page, lambda comment: comment.id)
        return tuple(_told(each) for each in found if each.user is not None and each.user.login.lower() == me)

    async def create(self, body: str) -> Comment:
        """One more."""
        response = await self._client.call(
            self._repository, lambda rest: rest.issues.async_create_comment, self._number, body=body
        )
        if response is None:
            raise await self._client.not_allowed(self._repository)
        return _told(self._client.decoded(response, answers.Comment))

    async def edit(self, comment: int, body: str) -> bool:
        """Another body."""
        response = await self._client.call(
            self._repository, lambda rest: rest.issues.async_update_comment, comment, body=body
        )
        return response is not None

    async def delete(self, comment: int) -> None:
        """Away with it."""
        await self._client.call(self._repository, lambda rest: rest.issues.async_delete_comment, comment)


def _told(comment: answers.Comment) -> Comment:
    return Comment(id=comment.id, body=comment.body or "", url=comment.html_url)
