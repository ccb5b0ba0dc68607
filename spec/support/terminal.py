#!/usr/bin/env python3
"""Runs a command on a terminal of its own, stdin, stdout and stderr: terminal.py COLUMNS COMMAND [ARGUMENT…]

What the command shows goes to stdout as it comes. A line on stdin changes the terminal while it runs: a number is its new width
(the command gets SIGWINCH), `^C` is typed. The status is the command's, 128 + N after signal N.
"""
import fcntl
import os
import pty
import selectors
import struct
import sys
import termios


def resize(terminal, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def main():
    pid, terminal = pty.fork()
    if pid == 0:
        resize(0, int(sys.argv[1]))
        os.execvp(sys.argv[2], sys.argv[2:])
    selector = selectors.SelectSelector()
    selector.register(terminal, selectors.EVENT_READ)
    selector.register(sys.stdin.buffer.raw, selectors.EVENT_READ)
    typed = b""
    while True:
        for key, _ in selector.select():
            if key.fileobj == terminal:
                try:
                    shown = os.read(terminal, 65536)
                except OSError:  # how a terminal ends whose last user is gone
                    shown = b""
                if not shown:
                    _, status = os.waitpid(pid, 0)
                    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                os.write(1, shown)
                continue
            taken = os.read(0, 65536)
            if not taken:
                selector.unregister(key.fileobj)
            *lines, typed = (typed + taken).split(b"\n")
            for line in lines:
                if line == b"^C":
                    os.write(terminal, b"\x03")
                else:
                    resize(terminal, int(line))


sys.exit(main())
