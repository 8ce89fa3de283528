"""What Cloud Storage keeps, in memory: buckets, generations of objects, uploads in parts."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field

POLYNOMIAL = 0x1EDC6F41
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def reduce(value, bits):
    """The remainder of a short polynomial."""
    for at in range(bits - 1, 31, -1):
        if value >> at & 1:
            value ^= ((1 << 32) | POLYNOMIAL) << (at - 32)
    return value


def power(exponent):
    """The remainder of x to the power of `exponent`."""
    result = 1
    for digit in bin(exponent)[2:]:
        square = sum(1 << (2 * at) for at in range(32) if result >> at & 1)
        result = reduce(square << int(digit), 65)
    return result


def crc32c(data):
    """CRC32C (RFC 3720), base64 of its big-endian bytes.

    Python has none, and byte by byte it would take minutes for what the suites upload. So the message is one
    polynomial, folded in half until it is short: A*x^n + B leaves the same remainder as A*(x^n mod P) + B.
    """
    value = int.from_bytes(data.translate(REVERSED), "big") << 32
    bits = 8 * len(data) + 32
    value ^= 0xFFFFFFFF << (bits - 32)
    while bits > 512:
        half = max(bits // 2, 64)
        high = value >> half
        value ^= high << half
        factor, at = power(half), 0
        while factor:
            if factor & 1:
                value ^= high << at
            factor, at = factor >> 1, at + 1
        bits = value.bit_length()
    remainder = reduce(value, max(bits, 32)) ^ 0xFFFFFFFF
    return base64.b64encode(int(f"{remainder:032b}"[::-1], 2).to_bytes(4, "big")).decode()


def md5(data):
    return hashlib.md5(data).digest()


@dataclass
class Thing:
    """One generation of an object."""

    name: str
    body: bytes
    content: dict
    metadata: dict
    storage_class: str
    generation: int
    etag: str
    md5: str | None
    crc32c: str
    components: int = 0
    # The digest of the customer's key that it is encrypted with.
    key: str | None = None
    metageneration: int = 1
    updated: float = field(default_factory=time.time)

    @property
    def size(self):
        return len(self.body)


@dataclass
class Part:
    body: bytes
    etag: str
    updated: float


@dataclass
class Upload:
    name: str
    content: dict
    metadata: dict
    storage_class: str
    key: str | None = None
    parts: dict = field(default_factory=dict)
    initiated: float = field(default_factory=time.time)


class Bucket:
    def __init__(self, versioned=False, storage_class="STANDARD"):
        self.versioned, self.storage_class = versioned, storage_class
        self.generations = {}  # by name, the oldest first
        self.live = {}
        self.uploads = {}
        self.created = time.time()
        self.last = 0

    def next_generation(self):
        self.last = max(self.last + 1, time.time_ns() // 1000)
        return self.last

    def store(self, name, body, content, metadata, storage_class, components=0, of=None):
        """A new generation. `of`: the object that it is a copy of, whose hashes it has."""
        generation = self.next_generation()
        digest = None if components else md5(body)
        if of is not None:
            digest = base64.b64decode(of.md5) if of.md5 else None
            components = of.components
        # What was put together of parts has an ETag that tells nothing of the bytes.
        etag = digest.hex() if digest else f"{hashlib.md5(secrets.token_bytes(16)).hexdigest()}-{components}"
        thing = Thing(
            name, body, content, metadata, storage_class or self.storage_class, generation, etag,
            base64.b64encode(digest).decode() if digest else None, of.crc32c if of else crc32c(body), components,
        )
        kept = self.generations.setdefault(name, [])
        if not self.versioned:
            kept.clear()
        kept.append(thing)
        self.live[name] = thing
        return thing

    def find(self, name, generation=None):
        if generation is None:
            return self.live.get(name)
        return next((thing for thing in self.generations.get(name, ()) if thing.generation == generation), None)

    def delete(self, name, generation=None):
        """Whether there was something."""
        thing = self.find(name, generation)
        if thing is None:
            return False
        if self.live.get(name) is thing:
            del self.live[name]
        if generation is not None or not self.versioned:
            self.generations[name].remove(thing)
            if not self.generations[name]:
                del self.generations[name]
        return True

    def page(self, prefix, delimiter, after, most, versions=False):
        """Things and common prefixes behind `after`, a name or a (name, generation); and where the page ended."""
        things, prefixes, last = [], [], None
        for name in sorted(self.generations if versions else self.live):
            inside = name[len(prefix):]
            if not name.startswith(prefix):
                continue
            common = None
            if delimiter and delimiter in inside:
                common = prefix + inside[: inside.index(delimiter) + len(delimiter)]
            for thing in self.generations[name] if versions else [self.live[name]]:
                if after is not None and (name, thing.generation) <= (after[0], after[1] or float("inf")):
                    continue
                if common is not None and last == (common, None):
                    continue
                if len(things) + len(prefixes) == most:
                    return things, prefixes, last
                if common is None:
                    things.append(thing)
                    last = (name, thing.generation)
                else:
                    prefixes.append(common)
                    last = (common, None)
        return things, prefixes, None
