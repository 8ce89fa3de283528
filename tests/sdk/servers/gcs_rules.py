"""What Cloud Storage takes and how it says things: known headers, conditions, ranges, hashes, keys, documents."""

import base64
import binascii
import hashlib
import re
import urllib.parse
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from xml.sax.saxutils import escape

import gcs_store
from wire import Refused, Reply, violation

NAMESPACE = "http://doc.s3.amazonaws.com/2006-03-01"
CONTENT = ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type")
CLASSES = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"}
META = "x-goog-meta-"
METADATA_BYTES_MAX = 8 * 1024
NAME_BYTES_MAX = 1024
PART_BYTES_MIN = 5 << 20
PAGE_MAX = 1000

EVERYWHERE = {"x-goog-date", "x-goog-content-sha256", "x-goog-user-project"}
WRITE = {"x-goog-if-generation-match", "x-goog-if-metageneration-match"}
READ = WRITE | {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range"}
SOURCE = "x-goog-copy-source"
COPY = WRITE | {SOURCE, "x-goog-metadata-directive", "x-goog-storage-class", SOURCE + "-generation"} | {
    f"{SOURCE}-if-{what}"
    for what in ("generation-match", "metageneration-match", "match", "none-match", "modified-since", "unmodified-since")
}
ATTRIBUTES = {"x-goog-storage-class", META}
HASHES = {"x-goog-hash", "content-md5"}
CUSTOMER_KEY = {"x-goog-encryption-algorithm", "x-goog-encryption-key", "x-goog-encryption-key-sha256"}
# Headers that mean something wherever they appear: unknown to an operation, they are wrong there.
MEANING = re.compile(r"x-goog-|x-amz-|if-|range$|content-md5$")
V1 = {"prefix", "delimiter", "marker", "max-keys", "encoding-type"}
V2 = {"list-type", "prefix", "delimiter", "max-keys", "encoding-type", "continuation-token", "start-after", "fetch-owner"}
VERSIONS = {"versions", "prefix", "delimiter", "max-keys", "encoding-type", "key-marker", "version-id-marker", "marker",
            "generation-marker"}
UPLOADS = {"uploads", "prefix", "delimiter", "max-uploads", "encoding-type", "key-marker", "upload-id-marker"}


def allow(request, query=(), headers=(), body=False):
    """Refuses what this operation does not know."""
    for name in request.query:
        if name not in query:
            raise violation(f"the parameter {name}")
    headers = EVERYWHERE | set(headers)
    for name in request.headers:
        known = name in headers or META in headers and name.startswith(META)
        if MEANING.match(name) and not known:
            code = "ExcessHeaderValues" if name.startswith("x-amz-") else "InvalidArgument"
            raise violation(f"the header {name}", code=code)
    if request.body and not body:
        raise violation("a body where none belongs")


def element(name, *inside):
    return f"<{name}>{''.join(inside)}</{name}>"


def text(name, value):
    return element(name, escape(str(value)))


def document(root, *inside):
    body = f"<?xml version='1.0' encoding='UTF-8'?><{root} xmlns='{NAMESPACE}'>{''.join(inside)}</{root}>"
    return Reply(200, [("Content-Type", "application/xml; charset=UTF-8")], body.encode())


def stamp(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def check_bucket_name(name):
    """What a name may be. One with dots is a domain's, which must be shown to be the caller's own."""
    parts = name.split(".")
    sound = (3 <= len(name) <= 222 and all(len(part) <= 63 for part in parts)
             and re.fullmatch(r"[a-z0-9][a-z0-9_.-]*[a-z0-9]", name) and ".." not in name
             and not re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name)
             and not name.startswith("goog") and not re.search("g[o0][o0]gle", name))
    if not sound:
        raise Refused(400, "InvalidBucketName", "The specified bucket is not valid.")
    if len(parts) > 1:
        raise Refused(403, "Forbidden", "The bucket you tried to create requires domain ownership verification.")


def check_location(document):
    location = document.findtext("LocationConstraint", "US")
    if not re.fullmatch(r"US|EU|ASIA|(us|europe|asia|australia|northamerica|southamerica|me|africa)-[a-z]+[0-9]+", location,
                        re.IGNORECASE):
        raise Refused(400, "InvalidLocationConstraint", f"The location constraint {location} is not valid.")


def namer(request):
    """How names are written into a listing."""
    encoding = request.query.get("encoding-type")
    if encoding not in (None, "url"):
        raise violation(f"the encoding {encoding}")
    return (lambda name: urllib.parse.quote_plus(name, safe="/-_.*")) if encoding else (lambda name: name)


def number(request, name, default, most=PAGE_MAX):
    value = request.query.get(name, str(default))
    if not value.isdigit() or not 1 <= int(value):
        raise violation(f"{name}={value}")
    return min(int(value), most)


def match(value, etag):
    """Whether a header of entity tags names this one."""
    if value.strip() == "*":
        return True
    tags = re.findall(r'(?:W/)?"([^"]*)"', value)
    if not tags:
        raise violation(f"the entity tags {value!r}")
    return etag in tags


def generation_match(headers, name, thing, prefix="x-goog-"):
    for what, now in (("generation", thing and thing.generation), ("metageneration", thing and thing.metageneration)):
        wanted = headers.get(f"{prefix}if-{what}-match")
        if wanted is None:
            continue
        if not wanted.isdigit():
            raise violation(f"the {what} {wanted!r}")
        if int(wanted) != (now or 0):
            raise Refused(412, "PreconditionFailed", f"{name} has another {what}")


def date(value):
    try:
        return parsedate_to_datetime(value).timestamp()
    except ValueError:
        raise violation(f"the date {value!r}") from None


def unchanged(headers, thing, prefix=""):
    """Whether the reader has it already; refuses where it was to be another."""
    at = int(thing.updated)
    if f"{prefix}if-match" in headers:
        fails = not match(headers[f"{prefix}if-match"], thing.etag)
    else:
        since = headers.get(f"{prefix}if-unmodified-since")
        fails = since is not None and at > date(since)
    if fails:
        raise Refused(412, "PreconditionFailed", "a condition on the object")
    if f"{prefix}if-none-match" in headers:
        return match(headers[f"{prefix}if-none-match"], thing.etag)
    since = headers.get(f"{prefix}if-modified-since")
    return since is not None and at <= date(since)


def span(header, size):
    """First and last byte, or None where the header is none that counts."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").replace(" ", ""))
    if not found or found.groups() == ("", "") or all(found.groups()) and int(found[2]) < int(found[1]):
        return None
    first = int(found[1]) if found[1] else max(size - int(found[2]), 0)
    last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
    if first > last or not found[1] and int(found[2]) == 0:
        raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.", [("Content-Range", f"bytes */{size}")])
    return first, last


def check_hashes(request, body=None):
    """What the client says of its body, against the body."""
    body = request.body if body is None else body
    told = [("md5", request.headers["content-md5"])] if "content-md5" in request.headers else []
    for pair in filter(None, request.headers.get("x-goog-hash", "").split(",")):
        told.append(tuple(pair.strip().split("=", 1)))
    for kind, value in told:
        if kind not in ("md5", "crc32c"):
            raise violation(f"the hash {kind}")
        try:
            sized = len(base64.b64decode(value, validate=True)) == (16 if kind == "md5" else 4)
        except binascii.Error:
            sized = False
        if not sized:
            raise Refused(400, "InvalidDigest", f"The {kind} you specified is not valid.")
        real = base64.b64encode(gcs_store.md5(body)).decode() if kind == "md5" else gcs_store.crc32c(body)
        if real != value:
            raise Refused(400, "BadDigest", f"The {kind} you specified did not match what we computed.")


def attributes(request):
    """Content headers, custom metadata and class of what is being written."""
    headers = request.headers
    content = {name: headers[name] for name in CONTENT if name in headers}
    if "aws-chunked" in content.get("content-encoding", ""):
        raise violation("aws-chunked", code="InvalidArgument")
    metadata = {name.removeprefix(META): value for name, value in headers.items() if name.startswith(META)}
    check_metadata(metadata)
    storage_class = headers.get("x-goog-storage-class")
    if storage_class not in CLASSES | {None}:
        raise violation(f"the class {storage_class}", code="InvalidStorageClass")
    return content, metadata, storage_class


def customer_key(request):
    """The digest of the key that the customer gives, or None."""
    found = [request.headers.get(f"x-goog-encryption-{part}") for part in ("algorithm", "key", "key-sha256")]
    if found == [None] * 3:
        return None
    try:
        key = base64.b64decode(found[1] or "", validate=True)
    except binascii.Error:
        key = b""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    if found[0] != "AES256" or len(key) != 32 or found[2] != digest:
        raise violation("a customer's key that is none", code="CustomerEncryptionKeyFormatIsInvalid")
    return digest


def check_key(given, wanted):
    if given is None and wanted is not None:
        raise Refused(400, "ResourceIsEncryptedWithCustomerEncryptionKey", "The key must be given.")
    if given is not None and wanted is None:
        raise Refused(400, "ResourceNotEncryptedWithCustomerEncryptionKey", "A key was given.")
    if given != wanted:
        raise Refused(400, "CustomerEncryptionKeyIsIncorrect", "Another key was given.")


def told_of_key(digest):
    if digest is None:
        return []
    return [("x-goog-encryption-algorithm", "AES256"), ("x-goog-encryption-key-sha256", digest)]


def check_metadata(metadata):
    try:
        size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    except UnicodeEncodeError:
        raise violation("metadata that is not UTF-8", code="InvalidMetadata") from None
    if size > METADATA_BYTES_MAX:
        raise Refused(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.")


def hashes(thing):
    found = [("x-goog-hash", f"crc32c={thing.crc32c}")]
    return [*found, ("x-goog-hash", f"md5={thing.md5}")] if thing.md5 else found


def told_of(thing):
    """The headers that tell of an object."""
    headers = [
        ("ETag", f'"{thing.etag}"'),
        ("x-goog-generation", str(thing.generation)),
        ("x-goog-metageneration", str(thing.metageneration)),
        *hashes(thing),
        ("x-goog-stored-content-encoding", thing.content.get("content-encoding", "identity")),
        ("x-goog-stored-content-length", str(thing.size)),
        ("x-goog-storage-class", thing.storage_class),
    ]
    return [*headers, ("x-goog-component-count", str(thing.components))] if thing.components else headers
