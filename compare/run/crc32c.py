"""The checksum of TensorBoard's records. TensorBoard's own, in Python, takes as long as all else that logging costs."""

from __future__ import annotations

import google_crc32c

MASK = 0xA282EAD8  # TensorFlow stores rotated and shifted checksums, so that a checksum of data with checksums is sound


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of `data` (RFC 3720) as records hold it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF
