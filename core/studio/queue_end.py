"""Act when a job has ended and when the queue is empty: a webhook, a notification, a command, sleep or shutdown.

A webhook is one POST of JSON, to this machine or to hosts that the settings allow. The address is resolved once and that very
address is called, so that a name can't point elsewhere between the check and the call. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.config.loader import Settings
from core.errors import OptionError, StorageError
from core.i18n import localize
from core.jobs.queue import JobQueue
from core.storage.files import write_atomically
from core.types import Job

FILE = "power.countdown"  # in the output folder
LOCAL = "local.yaml"
LOOK_SECONDS = 0.5
RECENT = 200  # ended jobs that are looked through at a time
NONE = "none"

log = logging.getLogger(__name__)
Run = Callable[[Sequence[str]], object]


class Countdown:
    """The countdown to sleep or shutdown, shared by all processes over one output folder."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE

    def begin(self, action: str, seconds: float) -> None:
        """Begin to count down; `action` is sleep or shutdown."""
        write_atomically(self._file, json.dumps({"action": action, "at": time.time() + seconds}).encode())

    def left(self) -> tuple[str, float] | None:
        """Return the action and the seconds until it; None when nothing counts down."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return str(found["action"]), max(0.0, float(found["at"]) - time.time())
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def stop(self) -> bool:
        """Stop it; return whether there was one."""
        try:
            self._file.unlink()
        except FileNotFoundError:
            return False
        return True


class QueueEnd:
    """Watches a queue and does what the settings say when jobs end and when none is left."""

    def __init__(
        self, settings: Settings, queue: JobQueue, run: Run = lambda words: subprocess.Popen(words, start_new_session=True)
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._run = run
        self.countdown = Countdown(settings.output_directory)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: set[str] = set()  # ids of ended jobs that the webhook knows of, or that ended before
        self._was_active = False
        self._mark: object = None

    def start(self) -> None:
        """Begin to watch, where anything is to be done. Raises OptionError for settings that can't be followed."""
        hook, command = webhook_of(self._settings), command_of(self._settings)
        end = self._settings.queue_end
        if not (hook or command or end.notify or end.power != NONE):
            return
        self.countdown.stop()  # of an app that ended while it counted
        self._told = {job.id for job in self._queue.ended(RECENT)}
        self._was_active = self._queue.count_active() > 0
        self._thread = threading.Thread(target=self._watch, args=(hook, command), name="queue-end", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and any countdown of this app."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self.countdown.stop()

    def _watch(self, hook: Webhook | None, command: Sequence[str]) -> None:
        counting = False
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                counting = self._turn(hook, command, counting)
            except StorageError as error:
                log.warning("the queue could not be watched: %s", error)
            except Exception:
                log.exception("what follows the end of the queue failed")

    def _turn(self, hook: Webhook | None, command: Sequence[str], counting: bool) -> bool:
        """Look once; return whether this app counts down."""
        mark = self._queue.change_mark()
        if mark != self._mark:
            self._mark = mark
            if hook is not None:
                self._tell_jobs(hook)
            active = self._queue.count_active() > 0
            if active and counting:
                self.countdown.stop()
                counting = False
            if self._was_active and not active:
                counting = self._empty(hook, command)
            self._was_active = active
        return self._count(counting)

    def _tell_jobs(self, hook: Webhook) -> None:
        ended = self._queue.ended(RECENT)
        for job in reversed(ended):
            if job.id not in self._told:
                _send(hook, event_of(job))
        self._told = {job.id for job in ended}

    def _empty(self, hook: Webhook | None, command: Sequence[str]) -> bool:
        """Do what is to be done at once; return True when a countdown began."""
        end = self._settings.queue_end
        if hook is not None:
            _send(hook, {"event": "queue.empty"})
        if end.notify:
            words = notification(sys.platform, localize("studio.queue_end.empty")[_language(self._settings)])
            if words:
                self._run(words)
            else:
                log.warning("queue_end.notify: this system has no notify-send, osascript or msg")
        if command:
            self._run(command)
        if end.power != NONE:
            self.countdown.begin(end.power, end.countdown_seconds)
        return end.power != NONE

    def _count(self, counting: bool) -> bool:
        if not counting:
            return False
        left = self.countdown.left()
        if left is None:
            return False  # somebody has stopped it
        action, seconds = left
        if seconds:
            return True
        self.countdown.stop()
        log.info("the queue is empty: %s", action)
        self._run(power_command(action, sys.platform))
        return False


def event_of(job: Job) -> dict[str, Any]:
    """Return what a webhook is told of a job that ended: no prompt, no seed and no client."""
    request = job.request
    return {
        "event": f"job.{job.state.value}",
        "job": job.id,
        "model": request.model,
        "width": request.width,
        "height": request.height,
        "images": [f"/api/v1/images/{image_id}" for image_id in job.image_ids],
        "error": job.error.code if job.error else None,
        "created_at": job.created_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
    }


def _send(hook: Webhook, event: Mapping[str, Any]) -> None:
    """Send an event; a call that fails is logged, and holds up nothing."""
    try:
        hook.send(event)
    except WebhookError as error:
        log.warning("webhook: %s", error)


def command_of(settings: Settings) -> Sequence[str]:
    """Return the words of the command that runs when the queue is empty; none when there is none.

    Raises OptionError for one that does not come from configs/local.yaml: a command runs with all rights of the app.
    """
    text, source = settings.queue_end.command, settings.origins["queue_end.command"]
    if not text:
        return ()
    allowed = localize("studio.queue_end.command")
    if Path(source).name != LOCAL:
        raise OptionError(source=source, key="queue_end.command", value=text[:60], allowed=allowed)
    with suppress(ValueError):
        if words := shlex.split(text):
            return words
    raise OptionError(source=source, key="queue_end.command", value=text[:60], allowed=allowed)


def power_command(action: str, platform: str) -> Sequence[str]:
    """Return the command that puts this machine to sleep or shuts it down."""
    commands: dict[str, dict[str, tuple[str, ...]]] = {
        "linux": {"sleep": ("systemctl", "suspend"), "shutdown": ("systemctl", "poweroff")},
        "darwin": {"sleep": ("pmset", "sleepnow"), "shutdown": ("osascript", "-e", 'tell app "System Events" to shut down')},
        "win32": {
            "sleep": ("rundll32.exe", "powrprof.dll,SetSuspendState", "0,1,0"),
            "shutdown": ("shutdown", "/s", "/t", "0"),
        },
    }
    return commands.get(platform, commands["linux"])[action]


def notification(platform: str, text: str) -> Sequence[str]:
    """Return the command that shows a notification on the desktop; none when this system has no such program."""
    if platform == "darwin":
        return ("osascript", "-e", f'display notification "{text}" with title "Z Darkroom"')
    if platform == "win32":
        return ("msg", "*", text)
    found = shutil.which("notify-send")
    return (found, "Z Darkroom", text) if found else ()


def _language(settings: Settings) -> str:
    return settings.ui.language if settings.ui.language in ("en", "zh") else "en"


KEY = "webhook.url"
TIMEOUT = 5.0  # seconds, to connect and to be answered


class WebhookError(Exception):
    """A call that failed; the text says why, for the log."""


@dataclass(frozen=True)
class Webhook:
    """Where to call, checked by form; the host is checked at each call."""

    scheme: str
    host: str
    port: int
    path: str
    allowed_hosts: tuple[str, ...] = ()

    def send(self, event: Mapping[str, Any]) -> None:
        """POST an event as JSON. Raises WebhookError when it is refused, not answered in time, or may not be sent there."""
        body = json.dumps(event).encode()
        connection = _Pinned(self, self.address())
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/json", "Host": self._host_header()})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise WebhookError(f"{self.host}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise WebhookError(f"{self.host}: HTTP {status}")

    def address(self) -> str:
        """Return the address to call. Raises WebhookError for one that is neither this machine nor allowed by name."""
        try:
            found = [str(one[4][0]) for one in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise WebhookError(f"{self.host}: {type(error).__name__}") from error
        if self.host.lower() not in self.allowed_hosts:
            for text in found:
                if not ipaddress.ip_address(text.partition("%")[0]).is_loopback:
                    raise WebhookError(f"{self.host} is {text}: neither this machine nor in webhook.allowed_hosts")
        return found[0]

    def _host_header(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.scheme == "https" else 80) else f"{name}:{self.port}"


class _Pinned(http.client.HTTPConnection):
    """A connection to one address; over https its certificate is checked for the host's name."""

    def __init__(self, hook: Webhook, address: str) -> None:
        super().__init__(hook.host, hook.port, timeout=TIMEOUT)
        self._hook = hook
        self._address = address

    def connect(self) -> None:
        made = socket.create_connection((self._address, self._hook.port), TIMEOUT)
        if self._hook.scheme == "https":
            made = ssl.create_default_context().wrap_socket(made, server_hostname=self._hook.host)
        self.sock = made


def webhook_of(settings: Settings) -> Webhook | None:
    """Return the webhook of the settings; None without one. Raises OptionError for an address that can't be one."""
    url, allowed = settings.webhook.url, settings.webhook.allowed_hosts
    return read_url(url, allowed, settings.origins[KEY]) if url else None


def read_url(url: str, allowed_hosts: Sequence[str], source: str) -> Webhook:
    """Return the webhook of a URL: http or https, without user, password and fragment. Raises OptionError."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname)
        plain = plain and not (parts.username or parts.password or parts.fragment)
        plain = plain and url.isprintable() and " " not in url
    except ValueError:
        plain = False
    if not plain:
        shown = url.rpartition("@")[2][:100]  # a password is not repeated
        raise OptionError(source=source, key=KEY, value=shown, allowed=localize("studio.queue_end.allowed"))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Webhook(parts.scheme, str(parts.hostname), port, path, tuple(host.lower() for host in allowed_hosts))
