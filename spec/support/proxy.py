#!/usr/bin/env python3
"""A proxy before one MongoDB server that loses answers. Used by spec/support/proxy.lua only.

    proxy.py HOST PORT

Says "port P" once it listens on loopback. Reads commands from stdin, and ends when that ends:

    cut ID N…    counts the server's answers from here on, over all connections; the N-th (each of them) is not delivered, its
                 connection is cut instead, after the server has done the work. Answers "armed ID".
    tell ID      answers "told ID <answers so far> <cuts so far>".

It understands the frames of MongoDB's protocol, no TLS. One thread: what is counted is counted in one order.
"""
import os
import selectors
import socket
import struct
import sys

CHUNK = 65536


class Proxy:
    def __init__(self, host, port):
        self.server = (host, port)
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.selector.register(sys.stdin, selectors.EVENT_READ, self.obey)
        self.answers, self.cuts, self.to_cut, self.input = 0, 0, set(), b""

    def accept(self):
        client, _ = self.listener.accept()
        try:
            server = socket.create_connection(self.server)
        except OSError:
            client.close()
            return
        pair = {"client": client, "server": server, "frames": b""}
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(client, selectors.EVENT_READ, lambda: self.ask(pair))
        self.selector.register(server, selectors.EVENT_READ, lambda: self.answer(pair))

    def drop(self, pair):
        for one in (pair["client"], pair["server"]):
            if one.fileno() >= 0:
                self.selector.unregister(one)
                one.close()

    def receive(self, pair, which):
        if pair[which].fileno() < 0:
            return b""  # dropped by an earlier event of the same round
        try:
            data = pair[which].recv(CHUNK)
        except OSError:
            data = b""
        if not data:
            self.drop(pair)
        return data

    def ask(self, pair):
        self.send(pair, "server", self.receive(pair, "client"))

    def answer(self, pair):
        pair["frames"] += self.receive(pair, "server")
        while len(pair["frames"]) >= 4:
            length = struct.unpack_from("<i", pair["frames"])[0]
            if len(pair["frames"]) < length:
                return
            frame, pair["frames"] = pair["frames"][:length], pair["frames"][length:]
            self.answers += 1
            if self.answers in self.to_cut:
                self.cuts += 1
                self.drop(pair)
                return
            self.send(pair, "client", frame)

    def send(self, pair, which, data):
        if not data or pair[which].fileno() < 0:
            return
        try:
            pair[which].sendall(data)
        except OSError:
            self.drop(pair)

    def obey(self):
        data = os.read(sys.stdin.fileno(), CHUNK)
        if not data:
            sys.exit(0)
        self.input += data
        *lines, self.input = self.input.split(b"\n")
        for line in lines:
            word, name, *numbers = line.decode().split()
            if word == "cut":
                self.answers, self.cuts, self.to_cut = 0, 0, set(map(int, numbers))
                print("armed", name, flush=True)
            elif word == "tell":
                print("told", name, self.answers, self.cuts, flush=True)
            else:
                sys.exit(f"unknown command {word}")

    def run(self):
        print("port", self.listener.getsockname()[1], flush=True)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj.fileno() >= 0:
                    key.data()


if __name__ == "__main__":
    Proxy(sys.argv[1], int(sys.argv[2])).run()
