"""``with_session``: a decorator that runs each call of a function in a session of its own.

Runs on the caller's thread; holds nothing between calls. This module must not know what a session stores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.session import Session

_T = TypeVar("_T")


def with_session(
    name: str, workspace: str | None = None, **session_kwargs: Any
) -> Callable[[Callable[..., _T]], Callable[..., _T]]:
    """A decorator: each call of the function runs in a new, open Session, passed as the keyword ``session``.

    Works for functions and coroutine functions; a function without a parameter ``session`` is called without it. The
    result is returned, an exception closes the session with status ERROR and passes through.
    """
    import functools
    import inspect

    def decorate(function: Callable[..., _T]) -> Callable[..., _T]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"with_session cannot wrap the generator {function.__qualname__}: use `with Session(...)` inside it"
            )
        parameters = inspect.signature(function).parameters
        wanted = "session" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

        def arguments(kwargs: dict[str, Any], session: Session) -> dict[str, Any]:
            return {**kwargs, "session": session} if wanted else kwargs

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                async with Session(name, workspace, **session_kwargs) as session:
                    return await function(*args, **arguments(kwargs, session))

            return call_async  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> _T:
            with Session(name, workspace, **session_kwargs) as session:
                return function(*args, **arguments(kwargs, session))

        return call

    return decorate
