"""Hide, unlock for some minutes, lock and show collections, as one viewer may."""

from __future__ import annotations

from core.history.hidden_collections import HiddenCollections
from core.history.visibility import Scope
from core.types import Viewer


class Collections:
    """The hidden collections of a viewer. Admins also have those of no user, hidden before there were users."""

    def __init__(self, hidden: HiddenCollections, viewer: Viewer) -> None:
        self._hidden = hidden
        self._viewer = viewer
        self._owners = tuple(dict.fromkeys((viewer.owner, "") if viewer.admin else (viewer.owner,)))

    def scope(self) -> Scope:
        """Return what the viewer may see at this moment."""
        pairs = self._hidden.pairs(self._owners)
        return Scope(self._viewer, self._hidden.locked(self._viewer.client, pairs), pairs)

    def hide(self, name: str, password: str) -> None:
        """Hide a collection of the viewer; it is locked at once. Raises HidingError."""
        self._hidden.hide(self._viewer.owner, name, password)

    def unlock(self, name: str, password: str) -> float:
        """Unlock a hidden collection and return for how many seconds.

        Raises CollectionPasswordError or CollectionTriesError.
        """
        pair = self._hidden.unlock(self._viewer.client, self._owners, name, password)
        return self._hidden.seconds_left(self._viewer.client, pair)

    def show_again(self, name: str, password: str) -> None:
        """Hide a collection no longer. Raises CollectionPasswordError or CollectionTriesError."""
        self._hidden.show_again(self._viewer.client, self._owners, name, password)

    def lock(self) -> None:
        """Lock every hidden collection for the viewer."""
        self._hidden.lock(self._viewer.client)

    def unlocked(self) -> dict[str, float]:
        """Return the hidden collections that are unlocked, and in how many seconds each is locked again."""
        left = {
            pair[1]: self._hidden.seconds_left(self._viewer.client, pair) for pair in self._hidden.pairs(self._owners)
        }
        return {name: seconds for name, seconds in left.items() if seconds}

    def any_locked(self) -> bool:
        """Return True if the viewer has a hidden collection that is locked."""
        return bool(self.scope().locked)
