"""Count what users have used: totals for admins, and each user's own use beside the quota. Never what the images show."""

from __future__ import annotations

from dataclasses import dataclass

from core.config.loader import Settings
from core.errors import AdminOnlyError
from core.i18n import localize
from core.jobs.quota import Quota, use_of, uses
from core.storage.database import Database
from core.types import Usage, Viewer


@dataclass(frozen=True)
class UserUsage:
    """Reads how much users have generated, for one viewer."""

    database: Database
    viewer: Viewer
    quota: Quota

    def own(self) -> Usage:
        """Return how much the viewer has generated."""
        with self.database.reading() as connection:
            return use_of(connection, self.viewer.client)

    def all(self) -> dict[str, Usage]:
        """Return how much each user has generated, by client. Raises AdminOnlyError."""
        if not self.viewer.admin:
            raise AdminOnlyError(action=localize("studio.usage.of_others"))
        with self.database.reading() as connection:
            return uses(connection)


def quota_of(settings: Settings) -> Quota:
    """Return the quota of each user as the settings say."""
    return Quota(settings.quota.images_per_hour, settings.quota.megapixels_per_hour, settings.quota.disk_mb)
