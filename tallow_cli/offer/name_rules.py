"""What a file system can hold: the rules that names must meet at one receiver, and need not meet at another.

Linux takes nearly every name; Windows refuses characters and devices' names, drops dots at the end and does not tell
`README` from `readme`. So the receiver says in its first message which of these rules hold where it will write
(docs/spec/transfer.md, `ready`), and the sender judges its names by them. The rules that keep a receiver safe
wherever it is stand in offer.names and are not for negotiation.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import Annotated, Final

import msgspec

MAX_NAME_BYTES: Final = 255  # ext4, APFS, NTFS (in UTF-16 units) and exFAT all stop here
MAX_FORBIDDEN: Final = 64  # characters in `forbids`; Windows has nine


class NameRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one place refuses or confuses. The default is what every POSIX file system takes."""

    folds: bool = False  # names that differ in case or Unicode form only are one file
    forbids: Annotated[str, msgspec.Meta(max_length=MAX_FORBIDDEN)] = ""  # characters that are in no name
    strips: bool = False  # dots and spaces at the end of a name are dropped
    devices: bool = False  # CON, AUX and their like are devices, whatever their extension
    text_only: bool = False  # names are Unicode, so other bytes cannot be kept
    longest: Annotated[int, msgspec.Meta(ge=8, le=MAX_NAME_BYTES)] = MAX_NAME_BYTES  # bytes of UTF-8

    def combined(self, other: NameRules) -> NameRules:
        """The rules of a place where both hold."""
        return NameRules(
            folds=self.folds or other.folds,
            forbids="".join(sorted(set(self.forbids) | set(other.forbids)))[:MAX_FORBIDDEN],
            strips=self.strips or other.strips,
            devices=self.devices or other.devices,
            text_only=self.text_only or other.text_only,
            longest=min(self.longest, other.longest),
        )


POSIX: Final = NameRules()
MACOS: Final = NameRules(folds=True, text_only=True)  # APFS as it is delivered; EILSEQ for other bytes
# Win32 "Naming Files, Paths, and Namespaces"; the backslash separates directories, the colon names drives and streams.
WINDOWS: Final = NameRules(folds=True, forbids='"*:<>?\\|', strips=True, devices=True, text_only=True)


def platform_rules(platform: str = sys.platform) -> NameRules:
    """What holds everywhere on this operating system, whatever the file system."""
    if platform == "win32":
        return WINDOWS
    return MACOS if platform == "darwin" else POSIX


# Win32 "Naming Files": device names, with any extension; the superscript digits count as digits, and spaces
# before the extension are ignored.
_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]) *(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
# Invisible, yet part of ordinary names (Persian and Indic joiners, emoji and ideographic variants): allowed,
# but where names fold, two that differ only in these are one.
_IGNORABLE: Final = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def is_device(name: str) -> bool:
    """Whether Windows takes this for a device."""
    return _DEVICE.fullmatch(name) is not None


def fold(name: str) -> str:
    """The form under which two names are the same file on a case-insensitive or normalizing file system."""
    if name.isascii():
        return name.lower()
    visible = _IGNORABLE.sub("", name)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).casefold())
