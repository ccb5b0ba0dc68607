"""Random S3 requests as botocore signs them, for spec/c/test_s3_sign.c: s3_reference.py SEED SIGNED PRESIGNED

Prints one JSON object a request: what was signed, the canonical request, and the Authorization header or the presigned query.
botocore is the pinned one of scripts/lock/wheels.txt, in .cache/botocore (scripts/setup signers).
"""
import datetime
import json
import pathlib
import random
import sys
import types
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / ".cache" / "botocore"))

import botocore.auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
WIDE = PRINTABLE + " äßЖ漢\U0001F600"
NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, alphabet, least, most):
        return "".join(self.random.choices(alphabet, k=self.random.randint(least, most)))

    def key(self):
        kind = self.random.random()
        if kind < 0.4:
            return self.random.randbytes(self.random.randint(1, 60))
        if kind < 0.7:
            return "".join(self.random.choices(["/", "//", "./", "../", "+", "%", "%2F", " ", "a", "~", "ä", "?", "#", "&=", "\n"],
                                               k=self.random.randint(1, 12))).encode()
        return self.text(WIDE + "/", 1, 40).encode()

    def query(self, repeat):
        pairs = []
        for _ in range(self.random.choice([0, 0, 1, 2, 5])):
            name = self.random.choice(["uploads", "prefix", "list-type", self.text(WIDE, 1, 8)])
            pairs.append((name, self.random.choice(["", "2", self.text(WIDE, 0, 20)])))
            if repeat and self.random.random() < 0.3:
                pairs.append((name, self.text(WIDE, 0, 5)))
        return pairs if repeat else list(dict(pairs).items())

    def value(self):
        return "".join(self.random.choices(WIDE + "  \t ", k=self.random.randint(0, 30)))

    def headers(self):
        names = [self.random.choice(["Content-Type", "x-amz-acl", "If-None-Match", "x-amz-meta-" + self.text(NAME, 1, 10)])
                 for _ in range(self.random.choice([0, 1, 2, 4]))]
        return [(name, self.value()) for name in names]

    def credentials(self):
        token = self.text(PRINTABLE, 20, 400) if self.random.random() < 0.5 else None
        return Credentials(self.text(NAME, 16, 20), self.text(PRINTABLE, 20, 60), token)

    def request(self, presigned):
        when = datetime.datetime.fromtimestamp(self.random.randint(0, 4_000_000_000), datetime.timezone.utc)
        botocore.auth.get_current_datetime = lambda: when
        key = self.key()
        path = "/" + urllib.parse.quote(key, safe="/~")
        query, credentials = self.query(repeat=not presigned), self.credentials()
        body = None if presigned or self.random.random() < 0.3 else self.random.randbytes(self.random.randint(0, 100))
        host = self.random.choice(["bucket.s3.eu-west-3.amazonaws.com", "127.0.0.1:7070", "[::1]:9000"])
        request = AWSRequest(method=self.random.choice(["GET", "PUT", "HEAD", "DELETE", "POST"]), url=f"https://{host}{path}",
                             params=dict(query) if presigned else query, data=body or b"")
        for name, value in self.headers():
            request.headers[name] = value
        request.context["client_config"] = types.SimpleNamespace(s3={"payload_signing_enabled": body is not None})
        region = self.random.choice(["us-east-1", "eu-central-1", "ap-south-2", "garage"])
        expires = self.random.randint(1, 604800)
        signer = (botocore.auth.S3SigV4QueryAuth(credentials, "s3", region, expires) if presigned
                  else botocore.auth.S3SigV4Auth(credentials, "s3", region))
        canonical = []
        inner = signer.canonical_request
        signer.canonical_request = lambda signed: canonical.append(inner(signed)) or canonical[-1]
        signer.add_auth(request)

        headers = [("host", host)] + [pair for pair in request.headers.items() if pair[0].lower() not in ("authorization", "host")]
        if presigned:  # botocore sends its parameters in another order than it signs them
            parts = urllib.parse.urlsplit(request.url).query.split("&")
            expected = "&".join(sorted(parts[:-1], key=lambda part: tuple(part.split("=", 1))) + parts[-1:])
        else:
            expected = request.headers["Authorization"]
        return {"method": request.method, "key": key.hex(),
                "query": query, "headers": headers, "body": None if body is None else body.hex(), "region": region,
                "now_ms": {"$numberLong": str(int(when.timestamp()) * 1000)}, "access_key_id": credentials.access_key,
                "secret_access_key": credentials.secret_key, "session_token": credentials.token,
                "expires_s": {"$numberLong": str(expires if presigned else 0)}, "canonical": canonical[0], "expected": expected}


def main():
    seed, signed, presigned = map(int, sys.argv[1:])
    maker = Maker(seed)
    for count, kind in ((signed, False), (presigned, True)):
        for _ in range(count):
            print(json.dumps(maker.request(kind)))


main()
