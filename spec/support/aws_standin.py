#!/usr/bin/env python3
"""Stands in for the services that give AWS credentials: STS, a container's endpoint, an instance's metadata; and a proxy that records.

It refuses what the real ones refuse. Says "ports SERVICE PROXY" once both listen on loopback; reads commands from stdin, answers each by
one line, and ends when stdin ends:

    set NAME VALUE   a setting of DEFAULTS, as JSON
    count WHAT       how many requests came: token, instance, container, sts, proxy

    aws_standin.py [HOST PORT]    binds the service there
"""
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import re
import secrets
import sys
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

DEFAULTS = {
    "lifetime_s": 3600,  # of credentials given
    "role": "standin-role",  # of the instance; null: it has none
    "token_life_s": 60,  # of a metadata token
    "silent": False,  # the metadata token is never answered: the hop limit
    "refuse": 0,  # the next so many requests are answered with 503
    "answer": None,  # a text given in place of credentials, by whatever service
    "redirect": None,  # where the machine's endpoints send one
    "container_token": "container-token",
}
KEYS = {"AKIDLONGTERM": ("long-term/secret+key", None)}  # id: secret, session token
WEB_TOKENS = {"web-token-good": True, "web-token-late": False}

lock = threading.Lock()
settings = dict(DEFAULTS)
counts = dict.fromkeys(("token", "instance", "container", "sts", "proxy"), 0)
tokens = {}


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def issue():
    key, secret, token = "ASIA" + secrets.token_hex(6).upper(), secrets.token_urlsafe(30), secrets.token_urlsafe(90) + "/+="
    expires = now() + datetime.timedelta(seconds=settings["lifetime_s"])
    with lock:
        KEYS[key] = (secret, token)
    return key, secret, token, expires.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Refused(Exception):
    def __init__(self, status, code, message=""):
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


def encode(text):
    return urllib.parse.quote(text, safe="-_.~")


def check_signature(handler, body):
    """Signature Version 4 as AWS describes it, by the service's side."""
    match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
                         r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})", handler.headers.get("Authorization", ""))
    if not match:
        raise Refused(403, "MissingAuthenticationToken")
    key, day, region, service, names, signature = match.groups()
    if key not in KEYS:
        raise Refused(403, "InvalidClientTokenId", "the security token included in the request is invalid")
    secret, token = KEYS[key]
    if handler.headers.get("X-Amz-Security-Token") != token:
        raise Refused(403, "InvalidClientTokenId", "the session token is not the key's")
    date = handler.headers["X-Amz-Date"]
    signed_at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if abs((now() - signed_at).total_seconds()) > 900 or not date.startswith(day):
        raise Refused(403, "SignatureDoesNotMatch", "signature expired")
    if service != "sts" or not {"host", "x-amz-date"} <= set(names.split(";")):
        raise Refused(403, "SignatureDoesNotMatch", "wrong scope")
    headers = "".join(f"{name}:{' '.join(handler.headers[name].split())}\n" for name in names.split(";"))
    target = urllib.parse.urlsplit(handler.path)
    canonical = "\n".join(["POST", target.path, target.query, headers, names, hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", date, f"{day}/{region}/{service}/aws4_request",
                      hashlib.sha256(canonical.encode()).hexdigest()])
    mac = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request", text):
        mac = hmac.new(mac, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(mac.hex(), signature):
        raise Refused(403, "SignatureDoesNotMatch", "the request signature we calculated does not match")


def assume(handler, body):
    form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
    action = form.get("Action")
    if form.get("Version") != "2011-06-15" or action not in ("AssumeRole", "AssumeRoleWithWebIdentity"):
        raise Refused(400, "InvalidAction")
    if not re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", ""), re.ASCII):
        raise Refused(400, "ValidationError", "roleSessionName")
    if not 900 <= int(form.get("DurationSeconds", 3600)) <= 43200:
        raise Refused(400, "ValidationError", "durationSeconds")
    arn = form.get("RoleArn", "")
    if not re.fullmatch(r"arn:aws:iam::\d{12}:role/[\w+=,.@/-]+", arn):
        raise Refused(400, "ValidationError", f"{arn} is invalid")
    if action == "AssumeRole":
        check_signature(handler, body)
    elif form.get("WebIdentityToken") not in WEB_TOKENS:
        raise Refused(400, "InvalidIdentityToken", "no OpenIDConnect provider found")
    elif not WEB_TOKENS[form["WebIdentityToken"]]:
        raise Refused(400, "ExpiredTokenException", "the web identity token that was passed is expired or is not valid")
    if arn.endswith("/external") and form.get("ExternalId") != "an id, with = & blanks":
        raise Refused(403, "AccessDenied", "not authorized to perform sts:AssumeRole")
    key, secret, token, expires = issue()
    session = form["RoleSessionName"]
    return (f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><AssumedRoleUser><Arn>'
            f"{escape(arn)}/{escape(session)}</Arn></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>"
            f"{secret}</SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>{expires}</Expiration></Credentials>"
            f"</{action}Result></{action}Response>")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, text, headers=()):
        data = text.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))


class Service(Handler):
    def count(self, what):
        with lock:
            counts[what] += 1
            if settings["refuse"] > 0:
                settings["refuse"] -= 1
                raise Refused(503, "ServiceUnavailable")

    def refuse_proxied(self):
        if self.headers.get("X-Forwarded-For") or not self.path.startswith("/"):
            raise Refused(403, "Forbidden")

    def keys(self, **more):
        if settings["answer"] is not None:
            return settings["answer"]
        key, secret, token, expires = issue()
        return json.dumps({"AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": expires, **more})

    def do_PUT(self):
        try:
            self.body()
            if self.path != "/latest/api/token":
                raise Refused(404, "NotFound")
            self.count("token")
            self.refuse_proxied()
            if settings["silent"]:
                time.sleep(30)
            if not re.fullmatch(r"\d{1,5}", self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")):
                raise Refused(400, "BadRequest")
            token = secrets.token_urlsafe(40)
            tokens[token] = time.monotonic() + settings["token_life_s"]
            self.answer(200, token)
        except Refused as refused:
            self.answer(refused.status, refused.code)

    def instance(self):
        self.count("instance")
        self.refuse_proxied()
        if tokens.get(self.headers.get("X-aws-ec2-metadata-token"), 0) <= time.monotonic():
            raise Refused(401, "Unauthorized")
        if settings["redirect"]:
            return self.answer(302, "", [("Location", settings["redirect"])])
        folder = "/latest/meta-data/iam/security-credentials/"
        if self.path == folder and settings["role"]:
            return self.answer(200, settings["role"])
        if settings["role"] and self.path == folder + encode(settings["role"]):
            return self.answer(200, self.keys(Code="Success", Type="AWS-HMAC"))
        raise Refused(404, "NotFound")

    def container(self):
        self.count("container")
        self.refuse_proxied()
        if self.headers.get("Authorization") != settings["container_token"]:
            raise Refused(401, "Unauthorized")
        if settings["redirect"]:
            return self.answer(302, "", [("Location", settings["redirect"])])
        return self.answer(200, self.keys())

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path  # a proxied request's path, too
        try:
            if path == "/latest/api/token":
                raise Refused(405, "MethodNotAllowed")
            if path.startswith("/latest/meta-data/"):
                self.instance()
            elif path.startswith("/container/"):
                self.container()
            else:
                raise Refused(404, "NotFound")
        except Refused as refused:
            self.answer(refused.status, refused.code)

    def do_POST(self):
        body = self.body()
        try:
            self.count("sts")
            text = assume(self, body) if settings["answer"] is None else settings["answer"]
            self.answer(200, text, [("Content-Type", "text/xml")])
        except Refused as refused:
            self.answer(refused.status, "<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Error><Type>Sender</Type>"
                        f"<Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error></ErrorResponse>",
                        [("Content-Type", "text/xml")])


class Proxy(Handler):
    def forward(self):
        with lock:
            counts["proxy"] += 1
        target = urllib.parse.urlsplit(self.path)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        connection = http.client.HTTPConnection(target.netloc, timeout=10)
        connection.request(self.command, target.path, self.body(), {**headers, "X-Forwarded-For": "127.0.0.1"})
        response = connection.getresponse()
        self.answer(response.status, response.read().decode())
        connection.close()

    do_GET = do_PUT = do_POST = forward

    def do_CONNECT(self):
        with lock:
            counts["proxy"] += 1
        self.answer(403, "")


def serve(address, handler):
    server = http.server.ThreadingHTTPServer(address, handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    address = (sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 2 else ("127.0.0.1", 0)
    print("ports", serve(address, Service), serve(("127.0.0.1", 0), Proxy), flush=True)
    for line in sys.stdin:
        command, name, *value = line.rstrip("\n").split(" ", 2)
        with lock:
            if command == "set":
                settings[name] = json.loads(value[0]) if value else DEFAULTS[name]
                print("set", flush=True)
            else:
                print("count", counts[name], flush=True)


main()
