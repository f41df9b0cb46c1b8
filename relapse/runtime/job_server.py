"""A process that has imported what jobs import, and forks a job for every command line that job_client.py hands over.

A forked job is what `python -m` would have made of its command line: a process with its own arguments, files and exit
status. Its modules are the server's, and so are its environment and folder, which are the same. The server ends when
the Snakemake process that it serves has ended, so that no job runs older sources; and a job ends at the latest with the
server, or with the client that asked for it. Linux alone has what this takes.
"""

import atexit
import ctypes
import gc
import importlib
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress

from relapse.runtime.job_client import STARTED, user_at

PR_SET_PDEATHSIG = 1


def import_all() -> None:
    """Import what most jobs need: nothing that starts a thread, which a fork would lose, or that touches a GPU."""
    from relapse.evaluation import evaluate  # noqa: F401
    from relapse.metrics import METRICS, rouge
    from relapse.models.loading import import_transformers
    from relapse.quantization import BACKENDS

    import_transformers()
    for library in ("bitsandbytes", "transformers.quantizers.auto"):
        importlib.import_module(library)
    rouge.rouge_l("", "")
    METRICS.names()
    BACKENDS.names()


class Job:
    """A forked process, and the connection to the client that waits for it."""

    def __init__(self, pid: int, connection: socket.socket):
        self.pid, self.connection = pid, connection
        self.end = os.pidfd_open(pid)
        os.setpgid(pid, pid)  # the job does so itself, too: whichever comes first

    def pass_on(self) -> None:
        """Send the job the signal that its client has got, or kill it if the client has ended."""
        try:
            number = int(self.connection.recv(16) or signal.SIGKILL)
        except OSError:
            number = signal.SIGKILL
        os.killpg(self.pid, number)

    def reap(self) -> None:
        """Tell the client how the job has ended."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with suppress(OSError):  # the client may have ended as well
            self.connection.send(str(status).encode())

    def close(self) -> None:
        self.connection.close()
        os.close(self.end)


class Server:
    """Forks the jobs of one run. Nothing of it is left in a job."""

    def __init__(self, listener: socket.socket, snakemake: int):
        self.listener = listener
        self.over = os.pidfd_open(snakemake)
        self.jobs: set[Job] = set()
        self.selector = selectors.DefaultSelector()
        for source in (self.over, listener):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> list[str]:
        """Fork jobs until Snakemake has ended. Returns in each job, with the words behind `python -m`."""
        while True:
            for key, _ in self.selector.select():
                job = key.data
                if key.fileobj == self.over:
                    for job in self.jobs:
                        os.killpg(job.pid, signal.SIGKILL)
                    os._exit(0)
                if key.fileobj == self.listener:
                    if words := self.accept():
                        return words
                elif job in self.jobs and key.fileobj == job.end:
                    self.jobs.remove(job)
                    job.reap()
                    self.selector.unregister(job.end)
                    self.selector.unregister(job.connection)
                    job.close()
                elif job in self.jobs:
                    job.pass_on()

    def accept(self) -> list[str]:
        """Fork a job for the next client. Returns its words in the job, and none in the server."""
        connection, _ = self.listener.accept()
        message = b""
        files: list[int] = []
        if user_at(connection) == os.getuid():
            with suppress(OSError):  # the client may have ended
                message, files, _, _ = socket.recv_fds(connection, 2**20, 3)
                connection.send(STARTED)
        server, pid = os.getpid(), os.fork() if message else None
        if pid == 0:
            self.close()
            connection.close()
            since, *words = message.decode().split("\0")
            become_job(server, since, files)
            return words
        for file in files:
            os.close(file)
        if pid is None:
            connection.close()
            return []
        job = Job(pid, connection)
        self.jobs.add(job)
        for source in (job.end, connection):
            self.selector.register(source, selectors.EVENT_READ, job)
        return []

    def close(self) -> None:
        self.listener.close()
        self.selector.close()
        os.close(self.over)
        for job in self.jobs:
            job.close()


def become_job(server: int, since: str, files: list[int]) -> None:
    """Make this fork of `server` a job that has been waited for `since`, with its client's input, output and errors."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # which ended before it could be watched
        os._exit(1)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.environ["RELAPSE_JOB_SINCE"] = since  # for its stop-watch


def leave(done: list[str]) -> None:
    """End a job that is `done` at once: taking its modules apart takes as long as scoring a small model."""
    if done:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def main() -> None:
    atexit.register(leave, done := [])  # before any library registers something, and so called after it
    server = Server(socket.socket(fileno=int(sys.argv[1])), int(os.environ["RELAPSE_RUN"].split("-")[0]))
    import_all()
    gc.collect()
    gc.freeze()  # what a job's collections need not look at, and so not copy
    module, *sys.argv[1:] = server.serve()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    done.append(module)


if __name__ == "__main__":
    main()
