"""Who asks: V4 signatures with HMAC keys (XML API alone), and bearer tokens that a service account signed itself.

Written after Google's manual ("Canonical requests", "Signatures", "Using OAuth 2.0 for server to server applications:
authorization without OAuth") and apart from Aqueduct's own code, so that the two check each other.
"""

import base64
import hashlib
import hmac
import json
import re
import time
import urllib.parse
from datetime import datetime, timezone

from wire import Refused, violation

ALGORITHM = "GOOG4-HMAC-SHA256"
SKEW_SECONDS = 15 * 60
SCOPES = ("https://www.googleapis.com/auth/devstorage.", "https://www.googleapis.com/auth/cloud-platform")
# DER of "this is a SHA-256 digest", by RFC 8017 9.2.
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def verify(request, keys, accounts, is_json):
    """The name of who asks. `keys`: secrets by access id; `accounts`: RSA moduli by e-mail."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise Refused(401, "AuthenticationRequired", "no authorization", violation=True)
    scheme, _, rest = authorization.partition(" ")
    if scheme == "Bearer":
        return bearer(rest, accounts)
    if scheme == ALGORITHM and not is_json:
        return hmac_key(request, rest, keys)
    raise Refused(401, "AuthenticationRequired", f"the scheme {scheme} is not taken here", violation=True)


def derive(secret, date, region, service, end):
    key = ("GOOG4" + secret).encode()
    for part in (date, region, service, end):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def canonical(request, signed, payload):
    pairs = [pair.partition("=")[::2] for pair in request.query_text.split("&") if pair]
    again = [
        "=".join(urllib.parse.quote(urllib.parse.unquote_to_bytes(part), safe="-_.~") for part in pair) for pair in pairs
    ]
    headers = [name + ":" + re.sub(r"[ \t]+", " ", request.headers[name]) for name in signed]
    lines = [request.method, request.path, "&".join(sorted(again)), *headers, "", ";".join(signed), payload]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def hmac_key(request, text, keys):
    fields = dict(re.findall(r"(\w+)=([^,\s]+)", text))
    try:
        access_id, date, region, service, end = fields["Credential"].split("/")
        signed, signature = fields["SignedHeaders"].split(";"), fields["Signature"]
    except (KeyError, ValueError):
        raise violation("an authorization that cannot be read", 400, "AuthorizationHeaderMalformed") from None
    at, payload = request.headers.get("x-goog-date", ""), request.headers.get("x-goog-content-sha256", "")
    must = {"host", *(name for name in request.headers if name.startswith("x-goog-"))}
    if signed != sorted(signed) or not must <= set(signed) or not set(signed) <= set(request.headers):
        raise violation(f"signed are {signed}", 403, "SignatureDoesNotMatch")
    if (service, end) != ("storage", "goog4_request") or not at.startswith(date + "T"):
        raise violation(f"the scope of {fields['Credential']}", 403, "SignatureDoesNotMatch")
    then = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    if abs(time.time() - then) > SKEW_SECONDS:
        raise violation(f"the date {at}", 403, "RequestTimeTooSkewed")
    if payload not in ("UNSIGNED-PAYLOAD", hashlib.sha256(request.body).hexdigest()):
        raise violation("another payload than was signed", 403, "SignatureDoesNotMatch")
    if access_id not in keys:
        raise violation("an unknown key", 403, "InvalidAccessKeyId")
    digest = hashlib.sha256(canonical(request, signed, payload)).hexdigest()
    to_sign = f"{ALGORITHM}\n{at}\n{date}/{region}/{service}/{end}\n{digest}"
    made = hmac.new(derive(keys[access_id], date, region, service, end), to_sign.encode(), hashlib.sha256)
    if not hmac.compare_digest(made.hexdigest(), signature):
        raise violation("another signature", 403, "SignatureDoesNotMatch")
    return access_id


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def bearer(token, accounts):
    def refuse(why):
        return violation(f"a token {why}", 401, "AuthenticationRequired")

    try:
        head, claims, signature = token.split(".")
        header, claim = json.loads(unpadded(head)), json.loads(unpadded(claims))
        signed = int.from_bytes(unpadded(signature), "big")
    except ValueError:
        raise refuse("that is none") from None
    email = claim.get("iss")
    if header.get("alg") != "RS256" or email not in accounts or claim.get("sub") != email:
        raise refuse("of nobody")
    modulus = accounts[email]
    digest = SHA256_INFO + hashlib.sha256(f"{head}.{claims}".encode()).digest()
    size = (modulus.bit_length() + 7) // 8
    padded = b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest
    if pow(signed, 65537, modulus).to_bytes(size, "big") != padded:
        raise refuse("with another signature")
    now, begins, ends = time.time(), claim["iat"], claim["exp"]
    if not (begins <= now + 60 and now < ends and ends - begins <= 3600):
        raise refuse("out of its time")
    if "aud" in claim or not any(scope.startswith(SCOPES) for scope in claim.get("scope", "").split()):
        raise refuse("for something else")
    return email
