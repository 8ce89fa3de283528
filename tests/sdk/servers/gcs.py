#!/usr/bin/env python3
"""Cloud Storage's XML API, and as much of its JSON API as changes metadata, as strict as Google's manual has them.

    gcs.py PORT CONFIG

CONFIG is JSON: `buckets` ({name: {"versioned": bool}}), `keys` ({access id: {"secret", "buckets"}}) and `accounts`
({e-mail: {"modulus" (hexadecimal), "buckets"}}). Whoever is named may do everything in the buckets named beside him,
and in those that he makes; where there is a `project`, he may make some in it.

Where the manual says nothing, what is harder for a client was chosen: a batch delete tells of keys that are not there
as errors, a page of no keys cannot be asked for, a marker that is a common prefix hides nothing under it. A listing of
versions is as others report Google's own: the oldest first, and `Encoding-Type` where all other listings of S3's kind
have `EncodingType`.
"""

import base64
import gzip
import hashlib
import json
import re
import secrets
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from email.utils import formatdate

import gcs_auth
import gcs_store
from gcs_rules import (
    ATTRIBUTES, COPY, CUSTOMER_KEY, HASHES, META, NAME_BYTES_MAX, PAGE_MAX, PART_BYTES_MIN, READ, SOURCE, UPLOADS,
    V1, V2, VERSIONS, WRITE, allow, attributes, check_bucket_name, check_hashes, check_key, check_location,
    check_metadata, customer_key, document, element, generation_match, hashes, namer, number, span, stamp, text,
    told_of, told_of_key, unchanged,
)
from wire import Refused, Reply, Server, decode, violation

JSON = re.compile(r"/storage/v1/.*")
JSON_OBJECT = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)")


class Gcs:
    def __init__(self, config):
        self.lock = threading.RLock()
        self.buckets = {name: gcs_store.Bucket(**settings) for name, settings in config["buckets"].items()}
        self.secrets = {name: key["secret"] for name, key in config["keys"].items()}
        self.moduli = {name: int(account["modulus"], 16) for name, account in config["accounts"].items()}
        self.project = config.get("project")
        self.corrupts = False
        self.reach = {name: set(who["buckets"]) for name, who in {**config["keys"], **config["accounts"]}.items()}

    # Answers

    def handle(self, request):
        is_json = JSON.fullmatch(request.path)
        who = gcs_auth.verify(request, self.secrets, self.moduli, bool(is_json))
        with self.lock:
            if is_json:
                return self.of_json(request, who)
            bucket_name, _, name = request.path[1:].partition("/")
            if not bucket_name:
                return self.list_buckets(request, who)
            bucket_name, name = decode(bucket_name), decode(name)
            if not name and request.method in ("PUT", "DELETE") and not request.query:
                return self.make_or_remove(request, who, bucket_name)
            bucket = self.bucket(who, bucket_name)
            if not name:
                return self.of_bucket(request, bucket_name, bucket)
            if (len(name.encode()) > NAME_BYTES_MAX or re.search("[\r\n]", name) or name in (".", "..")
                    or name.startswith(".well-known/acme-challenge/")):
                raise violation(f"the name {name[:80]!r}", code="InvalidObjectName")
            return self.of_object(request, bucket, name, who)

    def of_json(self, request, who):
        if request.path == "/storage/v1/b" and request.method == "GET":
            return self.page_of_buckets(request, who)
        names = JSON_OBJECT.fullmatch(request.path)
        if not names:
            raise violation("nothing that the JSON API has", 404, "notFound")
        return self.patch(request, who, *(decode(part) for part in names.groups()))

    def refusal(self, request, refused):
        """A failure, as a document of the API that was asked."""
        if JSON.fullmatch(request.path):
            body = json.dumps({"error": {"code": refused.status, "message": refused.message,
                                         "errors": [{"reason": refused.code, "message": refused.message}]}})
            return Reply(refused.status, [("Content-Type", "application/json"), *refused.headers], body.encode())
        details = text("Details", refused.message)
        body = f"<?xml version='1.0' encoding='UTF-8'?><Error>{text('Code', refused.code)}"
        body += f"{text('Message', refused.message or refused.code)}{details}</Error>"
        return Reply(refused.status, [("Content-Type", "application/xml; charset=UTF-8"), *refused.headers], body.encode())

    def bucket(self, who, name):
        if name not in self.buckets:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        if name not in self.reach[who]:
            raise Refused(403, "AccessDenied", "Access denied.")
        return self.buckets[name]

    # Buckets

    def check_project(self, who, named):
        """Owners of HMAC keys may have told Google a project of their own."""
        if named is None and who in self.secrets:
            named = self.project
        if named is None or named != self.project:
            raise violation(f"the project {named!r}")

    def list_buckets(self, request, who):
        allow(request, (), {"x-goog-project-id"})
        if request.method != "GET":
            raise violation("the method", 405, "MethodNotAllowed")
        self.check_project(who, request.headers.get("x-goog-project-id"))
        listed = [
            element("Bucket", text("Name", name), text("CreationDate", stamp(bucket.created)))
            for name, bucket in sorted(self.buckets.items()) if name in self.reach[who]
        ]
        # More than these are never told, and nothing says that there are.
        return document("ListAllMyBucketsResult", element("Owner", text("ID", "0")), element("Buckets", *listed[:PAGE_MAX]))

    def page_of_buckets(self, request, who):
        """The same in the JSON API."""
        query = request.query
        allow(request, {"project", "prefix", "maxResults", "pageToken", "fields"})
        self.check_project(who, query.get("project"))
        if query.get("fields", "items(name,timeCreated),nextPageToken") != "items(name,timeCreated),nextPageToken":
            raise violation(f"the fields {query['fields']!r}")
        most, prefix = number(request, "maxResults", PAGE_MAX), query.get("prefix", "")
        try:
            after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        except ValueError:
            raise violation("a token of nobody's") from None
        names = [name for name in sorted(self.buckets) if name in self.reach[who] and name.startswith(prefix) and name > after]
        shown = {"items": [{"name": name, "timeCreated": stamp(self.buckets[name].created)} for name in names[:most]]}
        if not shown["items"]:
            shown = {}
        if len(names) > most:
            shown["nextPageToken"] = base64.urlsafe_b64encode(names[most - 1].encode()).decode()
        return Reply(200, [("Content-Type", "application/json; charset=UTF-8")], json.dumps(shown).encode())

    def make_or_remove(self, request, who, name):
        if request.method == "PUT":
            allow(request, (), {"x-goog-project-id", "x-goog-storage-class", "content-md5"}, body=True)
            self.check_project(who, request.headers.get("x-goog-project-id"))
            check_bucket_name(name)
            check_hashes(request)
            if request.body:
                check_location(self.parsed(request, "CreateBucketConfiguration"))
            if name in self.buckets:
                mine = name in self.reach[who]
                raise Refused(409, "BucketAlreadyOwnedByYou" if mine else "BucketAlreadyExists", "It is there already.")
            self.buckets[name] = gcs_store.Bucket()
            self.reach[who].add(name)
            return Reply()
        allow(request)
        if self.bucket(who, name).generations:
            raise Refused(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
        del self.buckets[name]
        for reach in self.reach.values():
            reach.discard(name)
        return Reply(204)

    def of_bucket(self, request, name, bucket):
        if request.method == "HEAD":
            allow(request)
            return Reply(200, [("Content-Type", "application/xml; charset=UTF-8")])
        if request.method == "GET" and "versions" in request.query:
            return self.list_versions(request, name, bucket)
        if request.method == "GET" and "uploads" in request.query:
            return self.list_uploads(request, name, bucket)
        if request.method == "GET":
            return self.list_objects(request, name, bucket)
        if request.method == "POST" and "delete" in request.query:
            return self.delete_many(request, bucket)
        raise violation("the method", 405, "MethodNotAllowed")

    def list_objects(self, request, name, bucket):
        query, second = request.query, request.query.get("list-type") == "2"
        allow(request, V2 if second else V1)
        named, most = namer(request), number(request, "max-keys", PAGE_MAX)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("start-after" if second else "marker")
        if "continuation-token" in query:
            try:
                after = json.loads(base64.urlsafe_b64decode(query["continuation-token"]))
            except ValueError:
                raise violation("a token of nobody's") from None
        things, prefixes, last = bucket.page(prefix, delimiter, None if after is None else (after, None), most)
        out = [text("Name", name), text("Prefix", named(prefix))]
        if second:
            out.append(text("KeyCount", len(things) + len(prefixes)))
        else:
            out.append(text("Marker", named(after or "")))
        out += [text("MaxKeys", most), text("Delimiter", named(delimiter)) if delimiter else ""]
        out.append(text("IsTruncated", str(last is not None).lower()))
        if "encoding-type" in query:
            out.append(text("EncodingType", "url"))
        if last is not None and second:
            # All under a common prefix was shown with it.
            where = last[0] if last[1] else last[0] + "\U0010ffff"
            out.append(text("NextContinuationToken", base64.urlsafe_b64encode(json.dumps(where).encode()).decode()))
        elif last is not None:
            out.append(text("NextMarker", named(last[0])))
        for thing in things:
            out.append(element("Contents", text("Key", named(thing.name)), text("Generation", thing.generation),
                               text("MetaGeneration", thing.metageneration), *self.listed(thing)))
        out += [element("CommonPrefixes", text("Prefix", named(common))) for common in prefixes]
        return document("ListBucketResult", *out)

    @staticmethod
    def listed(thing):
        return [text("LastModified", stamp(thing.updated)), text("ETag", f'"{thing.etag}"'), text("Size", thing.size),
                text("StorageClass", thing.storage_class)]

    def list_versions(self, request, name, bucket):
        allow(request, VERSIONS, {"x-goog-interop-list-objects-format"})
        query = request.query
        if request.headers.get("x-goog-interop-list-objects-format") != "enabled":
            raise violation("a listing of versions that S3 knows nothing of")
        if {"marker", "generation-marker"} & set(query) or "version-id-marker" in query and "key-marker" not in query:
            raise violation("markers of the other format")
        named, most = namer(request), number(request, "max-keys", PAGE_MAX)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = None
        if "key-marker" in query:
            after = (query["key-marker"], int(query.get("version-id-marker") or 0))
        things, prefixes, last = bucket.page(prefix, delimiter, after, most, versions=True)
        out = [text("Name", name), text("Prefix", named(prefix)), text("MaxKeys", most),
               text("IsTruncated", str(last is not None).lower())]
        if "encoding-type" in query:
            out.append(text("Encoding-Type", "url"))
        if last is not None:
            out.append(text("NextKeyMarker", named(last[0])))
            out.append(text("NextVersionIdMarker", last[1]) if last[1] else "")
        for thing in things:
            latest = str(bucket.live.get(thing.name) is thing).lower()
            out.append(element("Version", text("Key", named(thing.name)), text("VersionId", thing.generation),
                               text("IsLatest", latest), *self.listed(thing)))
        out += [element("CommonPrefixes", text("Prefix", named(common))) for common in prefixes]
        return document("ListVersionsResult", *out)

    def delete_many(self, request, bucket):
        allow(request, {"delete"}, HASHES, body=True)
        if not {"content-md5", "x-goog-hash"} & set(request.headers):
            raise violation("a batch without a hash", code="MissingContentMD5")
        check_hashes(request)
        root = self.parsed(request, "Delete")
        entries, quiet = root.findall("Object"), root.findtext("Quiet", "false").lower() == "true"
        if not 1 <= len(entries) <= PAGE_MAX:
            raise violation(f"a batch of {len(entries)}", code="MalformedXML")
        out = []
        for entry in entries:
            unknown = {child.tag for child in entry} - {"Key", "VersionId"}
            if unknown:
                raise violation(f"{unknown} in a batch", code="MalformedXML")
            key, version = entry.findtext("Key"), entry.findtext("VersionId")
            told = [text("Key", key), text("VersionId", version) if version else ""]
            if bucket.delete(key, int(version) if version else None):
                out.append("" if quiet else element("Deleted", *told))
            else:
                gone = text("Message", "The specified key does not exist.")
                out.append(element("Error", *told, text("Code", "NoSuchKey"), gone))
        return document("DeleteResult", *out)

    @staticmethod
    def parsed(request, root):
        try:
            found = ElementTree.fromstring(request.body)
        except ElementTree.ParseError:
            raise violation("a document that is none", code="MalformedXML") from None
        if found.tag != root:
            raise violation(f"the document {found.tag}", code="MalformedXML")
        return found

    # Objects

    def of_object(self, request, bucket, name, who):
        method, query = request.method, request.query
        if "uploads" in query or "uploadId" in query:
            return self.of_upload(request, bucket, name)
        if method in ("GET", "HEAD"):
            return self.read(request, bucket, name)
        if method == "PUT" and SOURCE in request.headers:
            return self.copy(request, bucket, name, who)
        if method == "PUT":
            return self.put(request, bucket, name)
        if method == "DELETE":
            allow(request, {"generation"}, WRITE)
            thing = self.existing(request, bucket, name)
            generation_match(request.headers, name, thing)
            bucket.delete(name, thing.generation if "generation" in query else None)
            return Reply(204)
        raise violation("the method", 405, "MethodNotAllowed")

    @staticmethod
    def existing(request, bucket, name):
        generation = request.query.get("generation")
        if generation is not None and not generation.isdigit():
            raise violation(f"the generation {generation!r}")
        thing = bucket.find(name, int(generation) if generation else None)
        if thing is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        return thing

    def read(self, request, bucket, name):
        allow(request, {"generation", "response-content-type", "response-content-disposition"}, READ | CUSTOMER_KEY)
        thing = self.existing(request, bucket, name)
        headers = request.headers
        key = customer_key(request)
        if request.method == "GET" or key is not None:
            check_key(key, thing.key)
        generation_match(headers, name, thing)
        told = told_of(thing) + told_of_key(thing.key)
        if key != thing.key:
            # Whoever has no key is told of the object, but not of its bytes.
            told = [(name, value) for name, value in told if name != "x-goog-hash"]
        told.append(("Last-Modified", formatdate(int(thing.updated), usegmt=True)))
        if unchanged(headers, thing):
            return Reply(304, told)
        told += [(name, value) for name, value in thing.content.items() if name != "content-type"]
        told.append(("Content-Type", thing.content.get("content-type", "application/octet-stream")))
        told += [(META + name, value) for name, value in thing.metadata.items()]
        told.append(("Accept-Ranges", "bytes"))
        if thing.content.get("content-encoding") == "gzip" and "gzip" not in headers.get("accept-encoding", ""):
            # Decompressed on its way: another length, and nothing of what is told of the stored bytes.
            told = [(name, value) for name, value in told if name.lower() not in ("etag", "content-encoding")]
            return Reply(200, [*told, ("Warning", "214 UploadServer gunzipped")], gzip.decompress(thing.body))
        found = span(headers.get("range"), thing.size)
        if found is None:
            return Reply(200, told, thing.body)
        first, last = found
        told.append(("Content-Range", f"bytes {first}-{last}/{thing.size}"))
        return Reply(206, told, thing.body[first : last + 1])

    def put(self, request, bucket, name):
        allow(request, (), WRITE | ATTRIBUTES | HASHES | CUSTOMER_KEY, body=True)
        made, key = attributes(request), customer_key(request)
        generation_match(request.headers, name, bucket.find(name))
        check_hashes(request)
        thing = bucket.store(name, self.arrived(request), *made)
        thing.key = key
        return Reply(200, told_of(thing) + told_of_key(key))

    def arrived(self, request):
        """The body; once after a suite asked for it, with its last bit flipped behind every check."""
        corrupts, self.corrupts = self.corrupts, False
        return request.body[:-1] + bytes([request.body[-1] ^ 1]) if corrupts else request.body

    def copy(self, request, bucket, name, who):
        allow(request, (), COPY | ATTRIBUTES)
        headers = request.headers
        bucket_name, _, source_name = headers[SOURCE].lstrip("/").partition("/")
        source_bucket = self.bucket(who, decode(bucket_name))
        generation = headers.get(SOURCE + "-generation")
        source = source_bucket.find(decode(source_name), int(generation) if generation else None)
        if source is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        check_key(None, source.key)
        generation_match(headers, source.name, source, SOURCE + "-")
        if unchanged(headers, source, SOURCE + "-"):
            raise Refused(412, "PreconditionFailed", "a condition on the source")
        generation_match(headers, name, bucket.find(name))
        content, metadata, storage_class = attributes(request)
        directive = headers.get("x-goog-metadata-directive", "COPY")
        if directive not in ("COPY", "REPLACE") or directive == "COPY" and (content or metadata):
            raise violation(f"the directive {directive} with {content} {metadata}")
        if directive == "COPY":
            content, metadata = dict(source.content), dict(source.metadata)
        thing = bucket.store(name, source.body, content, metadata, storage_class, of=source)
        reply = document("CopyObjectResult", text("LastModified", stamp(thing.updated)), text("ETag", f'"{thing.etag}"'))
        reply.headers += [(name, value) for name, value in told_of(thing) if name != "ETag"]
        return reply

    # Uploads in parts

    def of_upload(self, request, bucket, name):
        method, query = request.method, request.query
        if method == "POST" and "uploads" in query:
            allow(request, {"uploads"}, ATTRIBUTES | CUSTOMER_KEY)
            upload_id = secrets.token_urlsafe(48)
            bucket.uploads[upload_id] = gcs_store.Upload(name, *attributes(request), customer_key(request))
            return document("InitiateMultipartUploadResult", text("Key", name), text("UploadId", upload_id))
        upload_id = query.get("uploadId")
        upload = bucket.uploads.get(upload_id)
        if upload is None or upload.name != name:
            raise Refused(404, "NoSuchUpload", "The requested upload was not found.")
        if method == "PUT":
            return self.put_part(request, upload)
        if method == "GET":
            return self.list_parts(request, upload)
        if method == "POST":
            return self.complete(request, bucket, upload_id, upload)
        if method == "DELETE":
            allow(request, {"uploadId"})
            del bucket.uploads[upload_id]
            return Reply(204)
        raise violation("the method", 405, "MethodNotAllowed")

    def put_part(self, request, upload):
        allow(request, {"uploadId", "partNumber"}, HASHES | CUSTOMER_KEY, body=True)
        check_key(customer_key(request), upload.key)
        part = request.query.get("partNumber", "")
        if not part.isdigit() or not 1 <= int(part) <= 10_000:
            raise violation(f"the part {part!r}")
        check_hashes(request)
        body = self.arrived(request)
        made = gcs_store.Part(body, gcs_store.md5(body).hex(), time.time())
        upload.parts[int(part)] = made
        told = [("x-goog-hash", f"crc32c={gcs_store.crc32c(body)}")]
        told.append(("x-goog-hash", "md5=" + base64.b64encode(gcs_store.md5(body)).decode()))
        return Reply(200, [("ETag", f'"{made.etag}"'), *told])

    def list_parts(self, request, upload):
        allow(request, {"uploadId", "max-parts", "part-number-marker"})
        most, after = number(request, "max-parts", PAGE_MAX), int(request.query.get("part-number-marker", 0))
        found = sorted(item for item in upload.parts.items() if item[0] > after)
        out = [text("Key", upload.name), text("UploadId", request.query["uploadId"]),
               text("StorageClass", upload.storage_class or "STANDARD"), text("PartNumberMarker", after),
               text("MaxParts", most), text("IsTruncated", str(len(found) > most).lower())]
        found = found[:most]
        out.append(text("NextPartNumberMarker", found[-1][0] if found else 0))
        for part_number, part in found:
            out.append(element("Part", text("PartNumber", part_number), text("LastModified", stamp(part.updated)),
                               text("ETag", f'"{part.etag}"'), text("Size", len(part.body))))
        return document("ListPartsResult", *out)

    def complete(self, request, bucket, upload_id, upload):
        allow(request, {"uploadId"}, {"content-md5"} | CUSTOMER_KEY, body=True)
        check_hashes(request)
        asked = []
        for part in self.parsed(request, "CompleteMultipartUpload").findall("Part"):
            asked.append((int(part.findtext("PartNumber")), part.findtext("ETag").strip('"')))
        if not asked:
            raise violation("an upload of no parts", code="MalformedXML")
        numbers = [part_number for part_number, _ in asked]
        if numbers != sorted(set(numbers)):
            raise Refused(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        if any(at not in upload.parts or upload.parts[at].etag != etag for at, etag in asked):
            raise Refused(400, "InvalidPart", "One or more of the specified parts could not be found.")
        bodies = [upload.parts[at].body for at in numbers]
        if any(len(body) < PART_BYTES_MIN for body in bodies[:-1]):
            raise Refused(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
        thing = bucket.store(upload.name, b"".join(bodies), upload.content, upload.metadata, upload.storage_class,
                             components=len(bodies))
        thing.key = upload.key
        del bucket.uploads[upload_id]
        reply = document("CompleteMultipartUploadResult", text("Location", request.path), text("Key", upload.name),
                         text("ETag", f'"{thing.etag}"'))
        reply.headers += hashes(thing)
        return reply

    def list_uploads(self, request, name, bucket):
        allow(request, UPLOADS)
        query, named, most = request.query, namer(request), number(request, "max-uploads", PAGE_MAX)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        key, upload_id = query.get("key-marker", ""), query.get("upload-id-marker", "")
        # Of one name in the order of their beginnings; the marker may be gone since.
        order = {upload_id: (upload.name, upload.initiated, upload_id) for upload_id, upload in bucket.uploads.items()}
        begins = order[upload_id] if upload_id in order else (key, float("inf"), "")
        out, shown, last = [], set(), None
        for found in sorted(order, key=order.get):
            upload = bucket.uploads[found]
            inside = upload.name[len(prefix):]
            if not upload.name.startswith(prefix) or key and order[found] <= begins:
                continue
            common = None
            if delimiter and delimiter in inside:
                common = prefix + inside[: inside.index(delimiter) + len(delimiter)]
            if common in shown:
                continue
            if len(out) == most:
                out.append(text("NextKeyMarker", named(last[0])) + text("NextUploadIdMarker", last[1]))
                break
            last = (upload.name, found)
            if common is not None:
                shown.add(common)
                out.append(element("CommonPrefixes", text("Prefix", named(common))))
                continue
            out.append(element("Upload", text("Key", named(upload.name)), text("UploadId", found),
                               text("StorageClass", upload.storage_class or "STANDARD"),
                               text("Initiated", stamp(upload.initiated))))
        head = [text("Bucket", name), text("KeyMarker", named(key)), text("UploadIdMarker", upload_id),
                text("Prefix", named(prefix)), text("MaxUploads", most),
                text("IsTruncated", str(len(out) > most).lower())]
        if "encoding-type" in query:
            head.append(text("EncodingType", "url"))
        return document("ListMultipartUploadsResult", *head, *out)

    # The JSON API

    def patch(self, request, who, bucket_name, name):
        if request.method != "PATCH":
            raise violation("the method", 405, "methodNotAllowed")
        allow(request, {"generation", "ifGenerationMatch", "ifMetagenerationMatch"}, body=True)
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            raise violation("a patch that is no JSON")
        thing = self.existing(request, self.bucket(who, bucket_name), name)
        for what in ("Generation", "Metageneration"):
            wanted = request.query.get(f"if{what}Match")
            if wanted is not None and int(wanted) != getattr(thing, what.lower()):
                raise Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        given = json.loads(request.body)
        if set(given) != {"metadata"}:
            raise violation(f"a patch of {sorted(given)}")
        metadata = {**thing.metadata, **(given["metadata"] or {})}
        metadata = {name: value for name, value in metadata.items() if value is not None}
        check_metadata(metadata)
        thing.metadata, thing.metageneration = metadata, thing.metageneration + 1
        body = {"kind": "storage#object", "bucket": bucket_name, "name": name, "generation": str(thing.generation),
                "metageneration": str(thing.metageneration), "metadata": metadata}
        return Reply(200, [("Content-Type", "application/json; charset=UTF-8")], json.dumps(body).encode())

    # For the suites

    def control(self, what, query, given):
        with self.lock:
            if what == "corrupt":
                self.corrupts = True
                return {}
            bucket = self.buckets[query["bucket"]]
            if what == "object":
                thing = bucket.find(query["name"])
                return thing and {
                    "sha256": hashlib.sha256(thing.body).hexdigest(), "size": thing.size, "content": thing.content,
                    "metadata": thing.metadata, "class": thing.storage_class, "generation": str(thing.generation),
                    "etag": thing.etag, "metageneration": thing.metageneration, "generations": len(bucket.generations[thing.name]),
                }
            if what == "body":
                thing = bucket.find(query["name"])
                return thing and base64.b64encode(thing.body).decode()
            if what == "names":
                return sorted(bucket.generations)
            if what == "uploads":
                return sorted(upload.name for upload in bucket.uploads.values())
            if what == "seed":
                for one in given:
                    bucket.store(one["name"], one.get("body", "").encode(), one.get("content", {}),
                                 one.get("metadata", {}), one.get("class"))
                return len(given)
        return None


def main():
    port, config = int(sys.argv[1]), json.load(open(sys.argv[2]))
    with Server(("127.0.0.1", port), Gcs(config)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
