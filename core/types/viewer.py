"""Define who uses the studio: a user, a browser or a program."""

from __future__ import annotations

from dataclasses import dataclass

USER_CLIENT = "user:"  # how the client of a user's jobs begins


@dataclass(frozen=True)
class Viewer:
    """Who looks. With `private`, images and jobs belong to users, and each user has an own history.

    `client` is what the viewer's jobs are stored under; it also tells who has unlocked a hidden collection.
    """

    client: str = ""
    admin: bool = True
    private: bool = False

    @property
    def owner(self) -> str:
        """Return the owner that the viewer's images are stored with: the client of a user, "" for everyone else."""
        return self.client if self.client.startswith(USER_CLIENT) else ""

    def owns(self, client: str) -> bool:
        """Return True for jobs of this client that the viewer may see: the own ones; an admin's are also those of no user."""
        if not self.private:
            return True
        return client == self.client or (self.admin and not client.startswith(USER_CLIENT))


ANYONE = Viewer()  # the command line, and a studio without users


@dataclass(frozen=True)
class Usage:
    """How much a user has generated."""

    images: int = 0  # in the history, the trash included
    disk_bytes: int = 0
    images_last_hour: int = 0  # of jobs that wait, run, or ended within an hour
    megapixels_last_hour: float = 0.0
