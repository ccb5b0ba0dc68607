#!/usr/bin/env python3
"""An S3 client of its own, so that nothing under test judges itself: for specs (spec/support/s3.lua), the example and the proxy.

    s3_admin.py create-bucket BUCKET            delete-bucket BUCKET        (with objects, versions and uploads in it)
    s3_admin.py put BUCKET KEY [FILE]           get BUCKET KEY [FILE]       (from and to stdin or FILE)
    s3_admin.py head BUCKET KEY                 delete BUCKET KEY
    s3_admin.py list BUCKET [PREFIX]            versions BUCKET [PREFIX]    uploads BUCKET
    s3_admin.py request METHOD TARGET           (TARGET as it goes over the wire, with its query; a body, if any, from stdin)

-H "NAME: VALUE" anywhere adds a header. Endpoint and credentials come from SMARTMIGRATION_TEST_S3_ENDPOINT,
SMARTMIGRATION_TEST_S3_CA_FILE and AWS_*. Prints one line of JSON, but for `get` without FILE, which prints the object:
{"status", "headers" (names in lower case), "body" (unless it went to FILE)}, for lists an array of objects, of an error
{"status", "code", "message"} on stdout; the exit status is then 1. Standard library only; a body is held in memory.
"""
import hashlib
import hmac
import http.client
import json
import os
import ssl
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

TIMEOUT_S = 60
EMPTY = hashlib.sha256(b"").hexdigest()


def quote(value, safe=""):
    return urllib.parse.quote(value if isinstance(value, bytes) else os.fsencode(value), safe="-_.~" + safe)


class Signer:
    """AWS Signature Version 4 for S3, written from its description."""

    def __init__(self, access, secret, region):
        self.access, self.secret, self.region = access, secret.encode(), region

    def authorization(self, method, target, headers):
        """Signs every header given (names in lower case, with host, x-amz-date and x-amz-content-sha256)."""
        path, _, query = target.partition("?")
        pairs = sorted("=".join(quote(urllib.parse.unquote_to_bytes(part)) for part in (pair + "=").split("=")[:2])
                       for pair in query.split("&") if pair)
        names = sorted(headers)
        canonical = "\n".join([method, path, "&".join(pairs),
                               *(f"{name}:{' '.join(headers[name].split())}" for name in names), "",
                               ";".join(names), headers["x-amz-content-sha256"]])
        scope = f"{headers['x-amz-date'][:8]}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = b"AWS4" + self.secret
        for part in [*scope.split("/"), text]:
            key = hmac.digest(key, part.encode(), "sha256")
        return f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={';'.join(names)}, Signature={key.hex()}"


class Answer(Exception):
    """An answer; raised when it is an error."""

    def __init__(self, status, headers, body):
        super().__init__(f"status {status}")
        self.status, self.headers, self.body = status, headers, body

    def error(self):
        try:
            tree = ElementTree.fromstring(self.body)
            code, message = tree.findtext("Code"), tree.findtext("Message")
        except ElementTree.ParseError:
            code, message = None, self.body.decode(errors="replace") or None
        return {"status": self.status, "headers": self.headers, "code": code, "message": message}


class Client:
    def __init__(self, endpoint, access, secret, region, ca_file=None):
        url = urllib.parse.urlsplit(endpoint)
        self.host, self.signer = url.netloc, Signer(access, secret, region)
        if url.scheme == "https":
            self.connection = http.client.HTTPSConnection(self.host, timeout=TIMEOUT_S,
                                                          context=ssl.create_default_context(cafile=ca_file))
        else:
            self.connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT_S)

    def request(self, method, target, body=b"", headers=None):
        signed = {"host": self.host, "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
                  "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), **(headers or {})}
        self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {**signed, "authorization": self.signer.authorization(method, target, signed)}.items():
            self.connection.putheader(name, value.encode())
        if body or method in ("PUT", "POST"):
            self.connection.putheader("content-length", str(len(body)))
        self.connection.endheaders(body or None)
        answer = self.connection.getresponse()
        result = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        if answer.status >= 300:
            raise result
        return result

    def object(self, method, bucket, key, body=b"", headers=None, **query):
        target = f"/{quote(bucket)}/{quote(key, '/')}"
        return self.request(method, target + self.query(query), body, headers)

    @staticmethod
    def query(words):
        pairs = sorted(f"{quote(name.replace('_', '-'))}={quote(str(value))}" for name, value in words.items())
        return "?" + "&".join(pairs) if pairs else ""

    def pages(self, bucket, kinds, words, tokens):
        """The entries of every page of a list. tokens: the request's parameters by the answer's elements they continue from."""
        while True:
            tree = ElementTree.fromstring(self.request("GET", f"/{quote(bucket)}" + self.query(words)).body)
            for node in tree.iter():
                _, _, node.tag = node.tag.rpartition("}")
            for node in tree:
                if node.tag in kinds:
                    entry = {child.tag: child.text or "" for child in node}
                    if tree.findtext("EncodingType") == "url":  # versitygw does not encode
                        entry["Key"] = os.fsdecode(urllib.parse.unquote_to_bytes(entry["Key"].replace("+", " ")))
                    yield node.tag, entry
            if tree.findtext("IsTruncated") != "true":
                return
            words = {**words, **{name: tree.findtext(element) for name, element in tokens.items() if tree.findtext(element)}}

    def list(self, bucket, prefix=""):
        words = {"list_type": 2, "encoding_type": "url", **({"prefix": prefix} if prefix else {})}
        for _, entry in self.pages(bucket, {"Contents"}, words, {"continuation_token": "NextContinuationToken"}):
            yield {"key": entry["Key"], "size": int(entry["Size"]), "etag": entry["ETag"].strip('"'),
                   "modified": entry["LastModified"]}

    def versions(self, bucket, prefix=""):
        words = {"versions": "", "encoding_type": "url", **({"prefix": prefix} if prefix else {})}
        tokens = {"key_marker": "NextKeyMarker", "version_id_marker": "NextVersionIdMarker"}
        for kind, entry in self.pages(bucket, {"Version", "DeleteMarker"}, words, tokens):
            yield {"key": entry["Key"], "version": entry["VersionId"], "latest": entry["IsLatest"] == "true",
                   "deleted": kind == "DeleteMarker"}

    def uploads(self, bucket):
        tokens = {"key_marker": "NextKeyMarker", "upload_id_marker": "NextUploadIdMarker"}
        for _, entry in self.pages(bucket, {"Upload"}, {"uploads": "", "encoding_type": "url"}, tokens):
            yield {"key": entry["Key"], "upload": entry["UploadId"]}

    def versioned(self, bucket):
        try:
            return b"<Status>" in self.request("GET", f"/{quote(bucket)}?versioning=").body
        except Answer:
            return False  # a server without versions

    def delete_bucket(self, bucket):
        for one in list(self.uploads(bucket)):
            self.object("DELETE", bucket, one["key"], uploadId=one["upload"])
        if self.versioned(bucket):
            for one in list(self.versions(bucket)):
                self.object("DELETE", bucket, one["key"], versionId=one["version"])
        for one in sorted(self.list(bucket), key=lambda one: one["key"], reverse=True):
            self.object("DELETE", bucket, one["key"])
        return self.request("DELETE", f"/{quote(bucket)}")


def from_environment():
    return Client(os.environ["SMARTMIGRATION_TEST_S3_ENDPOINT"], os.environ["AWS_ACCESS_KEY_ID"],
                  os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_REGION", "us-east-1"),
                  os.environ.get("SMARTMIGRATION_TEST_S3_CA_FILE"))


def perform(client, command, words, headers):
    """The answer to one command: an Answer, or what a list gives."""
    if command in ("list", "versions", "uploads"):
        return list(getattr(client, command)(*words))
    if command == "create-bucket":
        return client.request("PUT", f"/{quote(words[0])}", headers=headers)
    if command == "delete-bucket":
        return client.delete_bucket(*words)
    body = b""
    if command in ("put", "request"):
        with open(words[2] if len(words) > 2 else 0, "rb") as source:
            body = source.read()
    if command == "request":
        return client.request(*words, body, headers)
    return client.object(command.upper(), words[0], words[1], body, headers)


def main(arguments):
    headers, words = {}, []
    while arguments:
        word = arguments.pop(0)
        if word == "-H":
            name, _, value = arguments.pop(0).partition(":")
            headers[name.strip().lower()] = value.strip()
        else:
            words.append(word)
    if not words or words[0] not in ("create-bucket", "delete-bucket", "put", "get", "head", "delete", "list", "versions",
                                     "uploads", "request"):
        sys.exit("s3_admin.py: unknown command; see its first lines")
    command, *words = words
    status = 0
    try:
        result = perform(from_environment(), command, words, headers)
        if command == "get":
            with open(words[2] if len(words) > 2 else 1, "wb") as target:
                target.write(result.body)
            if len(words) <= 2:
                return 0
            result = {"status": result.status, "headers": result.headers}
        elif isinstance(result, Answer):
            result = {"status": result.status, "headers": result.headers, "body": os.fsdecode(result.body)}
    except Answer as answer:
        status, result = 1, answer.error()
    # A key or body that is no UTF-8 comes out as the bytes it is.
    sys.stdout.buffer.write(os.fsencode(json.dumps(result, ensure_ascii=False)) + b"\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
