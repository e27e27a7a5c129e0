"""Bearer tokens: who asks is known before anything else is looked at."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from twin.domain.errors import Unauthenticated
from twin.service.principals import Tokens

PUBLIC: dict[str, Any] = {"public": True}
"""`opt` of the routes that need no token."""


class BearerAuthentication(AbstractAuthenticationMiddleware):
    """Makes the token's principal the connection's user. Every refusal says the same: nothing to learn from it."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        super().__init__(app, exclude_from_auth_key="public")
        self._tokens = tokens

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """The principal of the Authorization header; raises `Unauthenticated`."""
        scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.casefold() != "bearer" or not token.strip():
                raise Unauthenticated("")
            principal = await self._tokens.authenticate(token.strip())
        except Unauthenticated:
            raise Unauthenticated(
                "no valid token was given",
                field="Authorization",
                mend="Set TWIN_TOKEN, or use the token file of the twin's data folder.",
            ) from None
        connection.scope["state"]["principal"] = principal.name
        return AuthenticationResult(user=principal, auth=None)
