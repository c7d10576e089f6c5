"""Templates encrypted at rest: AES-256-GCM, one nonce a template.

What is protected: without the key nobody reads a template from the file, and a changed, moved or
renamed template is an error. Names, times and the number of templates stay readable, and whoever
can write the file can put back an older copy of it. This is confidentiality; it is not the
irreversibility or unlinkability that ISO/IEC 24745 asks of protected templates.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface.errors import ExtraError, GalleryError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NONCE = 12
# scrypt's parameters for interactive logins (RFC 7914, section 2): 32 MiB, about 0.1 s on a PC.
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
_CHECK = b"pocketface gallery"


def _aesgcm(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ExtraError('encrypted galleries need the extra: pip install "pocketface[crypto]"') from None
    return AESGCM(key)


class Secret:
    """What the user knows or has: a passphrase or the content of a key file."""

    def __init__(
        self, *, passphrase: str | None = None, key_file: str | os.PathLike[str] | None = None
    ) -> None:
        """Take exactly one of the two.

        Args:
            passphrase: any text that is not empty.
            key_file: a file of at least 32 random bytes (`openssl rand -out people.key 32`).

        Raises:
            InputError: none or both were given, or the file is too short or unreadable.
        """
        if (passphrase is None) == (key_file is None):
            raise InputError("give either a passphrase or a key file")
        if key_file is not None:
            try:
                self._bytes = Path(key_file).read_bytes()
            except OSError as error:
                raise InputError(f"{key_file}: cannot read the key file: {error.strerror}") from None
            if len(self._bytes) < 32:
                raise InputError(
                    f"{key_file}: a key file has at least 32 random bytes, this one {len(self._bytes)}; "
                    "make one with: openssl rand -out people.key 32"
                )
            self._kdf = "hkdf-sha256"
        else:
            self._bytes = (passphrase or "").encode(errors="surrogateescape")  # as an environment gives it
            if not self._bytes:
                raise InputError("the passphrase is empty")
            self._kdf = "scrypt"

    def begin(self) -> dict[str, Any]:
        """Parameters for a new gallery's header, with a value that tells the right key from wrong ones."""
        parameters: dict[str, Any] = {
            "cipher": "aes-256-gcm",
            "kdf": self._kdf,
            "salt": _text(os.urandom(16)),
        }
        if self._kdf == "scrypt":
            parameters |= _SCRYPT
        nonce = os.urandom(_NONCE)
        sealed = _aesgcm(self._derive(parameters)).encrypt(nonce, _CHECK, _binding(parameters))
        parameters["check"] = _text(nonce + sealed)
        return parameters

    def open(self, parameters: dict[str, Any], url: str) -> Cipher:
        """The cipher of an existing gallery.

        Raises:
            GalleryError: the key is wrong, or it is of the other kind.
        """
        if parameters.get("cipher") != "aes-256-gcm" or parameters.get("kdf") not in (
            "scrypt",
            "hkdf-sha256",
        ):
            raise GalleryError(f"{url}: encrypted in a way this version does not know")
        if parameters["kdf"] != self._kdf:
            wanted = "a passphrase" if parameters["kdf"] == "scrypt" else "a key file"
            raise GalleryError(f"{url}: encrypted with {wanted}; give that")
        _aesgcm(bytes(32))  # names the extra when it is missing
        from cryptography.exceptions import InvalidTag

        try:
            key = self._derive(parameters)
            check = base64.b64decode(parameters["check"])
            _aesgcm(key).decrypt(check[:_NONCE], check[_NONCE:], _binding(parameters))
        except (InvalidTag, KeyError, TypeError, ValueError):  # the header has no checksum of its own
            raise GalleryError(f"{url}: wrong key or passphrase, or the header was changed") from None
        return Cipher(key, url)

    def _derive(self, parameters: dict[str, Any]) -> bytes:
        salt = base64.b64decode(parameters["salt"])
        _aesgcm(bytes(32))  # names the extra when it is missing
        if self._kdf == "scrypt":
            from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

            n, r, p = (int(parameters[name]) for name in ("n", "r", "p"))
            if n * r * p > 1 << 22:
                raise GalleryError(
                    "the header asks for more memory than a passphrase may cost; it was changed"
                )
            return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(self._bytes)
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), 32, salt, b"pocketface gallery key").derive(self._bytes)


class Cipher:
    """Seals and opens templates with one key."""

    def __init__(self, key: bytes, url: str) -> None:
        self._aead = _aesgcm(key)
        self._url = url

    def seal(self, vector: NDArray[np.float32], bound_to: bytes) -> bytes:
        """Nonce, ciphertext and tag of a template; `bound_to` must be the same when it is opened."""
        nonce = os.urandom(_NONCE)
        return nonce + bytes(self._aead.encrypt(nonce, vector.astype("<f4").tobytes(), bound_to))

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """The template's little-endian float32 bytes.

        Raises:
            GalleryError: a bit was changed, or the template belongs to something else.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to))
        except (InvalidTag, ValueError):
            raise GalleryError(
                f"{self._url}: an encrypted template was changed or damaged; restore a copy"
            ) from None


def binding(header: str, person: str, template: str) -> bytes:
    """What a sealed template is tied to: the gallery (its header as JSON), the person, the template's id."""
    return "\0".join((header, person, template)).encode()


def _binding(parameters: dict[str, Any]) -> bytes:
    return repr(sorted((key, value) for key, value in parameters.items() if key != "check")).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
