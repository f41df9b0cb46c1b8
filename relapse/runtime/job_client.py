"""What a job's command line goes through: `python -m scripts.evaluate ...`, forked where all is imported already.

Importing torch and transformers takes longer than scoring a small model. So the first job of a run starts a process,
job_server.py, which imports them, and jobs are forked from it. This file is what Snakemake starts for each of them: it
hands over the command line and the open files, passes signals on, and ends as the job ends. Whatever it cannot hand
over it runs as `python` does. It imports next to nothing; rules/run.smk lists the runs that use it.
"""

import hashlib
import os
import signal
import socket
import struct
import sys
import time

# The programs that import torch; the others start faster than they could be asked for.
SERVED = [f"-m scripts.{name}" for name in ("absorption", "evaluate", "make_base", "quantize", "train", "unlearn")]
STARTED = b"started"


def address() -> str:
    """Of the server for this run (RELAPSE_RUN), environment and folder: an abstract one, which leaves no file behind.

    Libraries read the environment while they are imported; so every environment has a server of its own.
    """
    identity = repr((sorted(os.environ.items()), os.getcwd(), sys.executable))
    return "\0relapse-" + hashlib.sha256(identity.encode()).hexdigest()


def user_at(connection: socket.socket) -> int:
    """The user id at the other end."""
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]


def start_server(listener: socket.socket) -> None:
    """Start the server on a socket that listens already, in a session of its own: no terminal's Ctrl-C reaches it."""
    listener.set_inheritable(True)
    command = [sys.executable, "-m", "relapse.runtime.job_server", str(listener.fileno())]
    silent = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
    os.posix_spawn(sys.executable, command, os.environ, file_actions=silent, setsid=True)


def hand_over(words: list[str]) -> socket.socket | None:
    """The connection to the server once it runs a job; None where it cannot.

    words: the time from which the job counts, its module and its arguments.
    """
    connection, listener = (socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    try:
        with listener:
            try:
                listener.bind(address())
            except OSError:  # the server is there already
                pass
            else:
                listener.listen(256)
                start_server(listener)
            connection.connect(address())
        if user_at(connection) != os.getuid():
            return None
        socket.send_fds(connection, ["\0".join(words).encode()], [0, 1, 2])
        return connection if connection.recv(16) == STARTED else None
    except OSError:  # no such sockets here, too long a command line, or a server that ended while it imported
        return None


def wait(connection: socket.socket) -> int:
    """The job's exit status, or the negative number of the signal that ended it; 1 where it is unknown."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: connection.send(str(number).encode()))
    shell = os.getppid()
    connection.settimeout(1)
    while os.getppid() == shell:  # or else Snakemake's shell was killed: the job ends with this process
        try:
            return int(connection.recv(16) or 1)
        except TimeoutError:
            continue
        except OSError:
            break
    return 1


def main() -> None:
    since, arguments = time.time(), sys.argv[1:]
    connection = hand_over([str(since), *arguments[1:]]) if " ".join(arguments[:2]) in SERVED else None
    if connection is None:
        os.execv(sys.executable, [sys.executable, *arguments])
    status = wait(connection)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
