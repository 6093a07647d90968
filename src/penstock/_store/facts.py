"""What a user says about a run or a track: description, tags and metadata, checked before anything is stored.

Pure; runs on the caller's thread. None is "not said", which is not the same as empty: ``tags=[]`` clears.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from penstock._codec.values import plain, text


class Facts(NamedTuple):
    """Plain values that JSON can hold."""

    description: str | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def checked(
        cls,
        where: str,
        description: str | None,
        tags: Sequence[str] | None,
        metadata: Mapping[str, Any] | None,
    ) -> Facts:
        """The facts as plain values. Raises FieldTypeError and FieldValueError naming ``where`` and the field,
        TypeError for tags that are one str."""
        if isinstance(tags, str):
            raise TypeError(f"tags must be a list of str, not the str {tags!r}")
        return cls(
            None if description is None else text(where, "description", description),
            None if tags is None else [text(where, "tags", tag) for tag in tags],
            None if metadata is None else plain(where, "metadata", dict(metadata)),
        )

    def said(self) -> dict[str, Any]:
        """Only what was said, by name."""
        return {key: value for key, value in self._asdict().items() if value is not None}
