"""Reading a GGUF file's header with only the standard library, before anything heavy is imported."""

import struct
from pathlib import Path


def gguf_architecture(path: str | Path) -> str:
    """Return the architecture named in the first entry of a GGUF file, such as `"llama"`.

    Raises:
        ValueError: The file cannot be read, is not a GGUF file, or ends within its header.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if head[:4] != b"GGUF":
        raise ValueError(f"{path} is not a GGUF file: it begins with {head[:4]!r}")
    try:
        (size,) = struct.unpack_from("<Q", head, 24)
        key, at = head[32 : 32 + size], 32 + size
        kind, size = struct.unpack_from("<IQ", head, at)
    except struct.error as error:
        raise ValueError(f"{path} is not a whole GGUF file: it ends within its header") from error
    is_name = key == b"general.architecture" and kind == 8
    return head[at + 12 : at + 12 + size].decode("utf-8", "replace") if is_name else "of unknown architecture"
