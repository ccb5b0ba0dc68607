"""HTTP/1.1 as it goes over a socket, piece by piece and unchanged: for spec/support/s3_proxy.py."""
import socket

CHUNK = 1 << 18
HEAD_LIMIT = 1 << 20
LINGER_S = 2


class Gone(Exception):
    """The other side of a connection is no longer there."""


class Stream:
    """A socket with what was read ahead."""

    def __init__(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.ahead = sock, b""

    def fileno(self):
        return self.sock.fileno()

    def more(self, limit=CHUNK):
        if self.ahead:
            data, self.ahead = self.ahead[:limit], self.ahead[limit:]
            return data
        try:
            data = self.sock.recv(limit)
        except OSError:
            data = b""
        if not data:
            raise Gone
        return data

    def until(self, mark):
        data = b""
        while mark not in data:
            if len(data) > HEAD_LIMIT:
                raise Gone
            data += self.more()
        data, _, rest = data.partition(mark)
        self.ahead = rest + self.ahead
        return data + mark

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone from None

    def linger(self):
        """Ends our side; takes in what the other side is still sending, which else would cost it our last words."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(LINGER_S)
            while self.sock.recv(CHUNK):
                pass
        except OSError:
            pass

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class Head:
    """The first lines of a request or an answer. Headers keep their order and spelling."""

    def __init__(self, raw):
        lines = raw[:-4].split(b"\r\n")
        self.first = lines[0].decode("latin-1")
        self.lines = [tuple(part.strip() for part in line.decode("latin-1").partition(":")[::2]) for line in lines[1:]]

    def get(self, name):
        return next((value for own, value in self.lines if own.lower() == name), None)

    def set(self, name, value):
        """Sets it; None or False takes it away."""
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]
        if value not in (None, False):
            self.lines.append((name, str(value)))

    def __bytes__(self):
        return "\r\n".join([self.first, *(f"{name}: {value}" for name, value in self.lines), "", ""]).encode("latin-1")

    def closes(self):
        return (self.get("connection") or "").lower() == "close"


class Body:
    """What follows a head: an iterator over its parts, as they come over the wire, that knows when it has had the last one."""

    def __init__(self, head, stream):
        self.stream, length = stream, int(head.get("content-length") or 0)
        chunked = "chunked" in (head.get("transfer-encoding") or "").lower()
        self.complete = not chunked and length == 0
        self.parts = self.chunks() if chunked else self.counted(length, True)

    def __iter__(self):
        return self.parts

    def counted(self, count, last):
        while count > 0:
            data = self.stream.more(min(count, CHUNK))
            count -= len(data)
            self.complete = last and count == 0
            yield data

    def chunks(self):
        size = None
        while size != 0:
            line = self.stream.until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line
            yield from self.counted(size, False)
            end = self.stream.until(b"\r\n")
            while size == 0 and end != b"\r\n":
                yield end  # trailers
                end = self.stream.until(b"\r\n")
            self.complete = size == 0
            yield end
