"""What anyone may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What anyone may ask of the server.

    Attributes
    ----------
    upload
        Bytes of a request.
    pixels
        Of a picture, all pages of a file together, and of what comes of it.
    waiting
        Jobs of all users that are not ended, those at work included.
    waiting_each
        Those of one user.
    seconds
        That a job may compute.
    keep
        Seconds that an ended job is kept.
    stored
        Bytes that all jobs together may take on the disk.
    """

    upload: int = 64 * 2**20
    pixels: int = 2**24
    waiting: int = 64
    waiting_each: int = 32
    seconds: float = 3600.0
    keep: float = 7 * 24 * 3600.0
    stored: int = 8 * 2**30
