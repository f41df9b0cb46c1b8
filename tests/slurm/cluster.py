"""A real SLURM cluster of one node, from Debian's slurmctld, slurmd, slurm-client and munge, in one folder.

Knows how to start its daemons, to ask and disturb it, and to leave nothing behind; nothing of the workflow. It has no
systemd, no database and no cgroups, and touches nothing outside its folder; SLURM_CONF in `environment` points to it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")

CONFIGURATION = """
ClusterName=relapse
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that was put back into the queue waits for its old credentials to expire.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SwitchType=switch/none
MpiDefault=none
# By process group: what a dying shell leaves behind is found all the same.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Claimed, not there: memory is not enforced, so that the requests of real clusters run on any machine.
SlurmdParameters=config_overrides
GresTypes=gpu
# Finished jobs are remembered, since there is no database to ask.
MinJobAge=86400
ReturnToService=2
KillWait=1
CompleteWait=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=UNLIMITED PriorityTier=1
PartitionName=gpu Nodes={host} MaxTime=UNLIMITED PriorityTier=1
# Its jobs push those of the others off the node.
PartitionName=urgent Nodes={host} MaxTime=UNLIMITED PriorityTier=10 PreemptMode=OFF
"""


def missing() -> list[str]:
    """What stands in the way of starting a cluster here; nothing where it can be started."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return (["not root"] if os.geteuid() else []) + ([f"not installed: {', '.join(absent)}"] if absent else [])


def until(happened: Callable[[], object], seconds: float, what: str):
    """What `happened` gives once it is true; an AssertionError that names `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (result := happened()):
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:.0f} s"
        time.sleep(0.1)
    return result


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


class Cluster:
    """One node with a stand-in GPU (/dev/null); partitions cpu, gpu and urgent.

    It claims a core more than there are here, since a test makes jobs hang, which need none.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))},
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self.daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir()
        # The executor takes SLURM_CONF away from the srun within a job, which then would look in /etc/slurm alone.
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        controller_port, node_port = free_ports(2)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=self.folder,
                host=host,
                cpus=os.cpu_count() + 1,
                controller_port=controller_port,
                node_port=node_port,
            )
        )
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        munge = [f"--{name}={self.folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "seed-file")]
        # --force: pytest's folders are private, which munged would rather not have.
        munge += [f"--key-file={key}", "--force", "--foreground"]
        self._daemon("munged", *munge)
        until((self.folder / "munge.socket").exists, 20, "the start of munged")
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", host)
        until(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T", check=False), 60, "an idle node")

    def _daemon(self, *command: str) -> None:
        """Start a daemon, which ends with this process however that ends."""
        command = ("setpriv", "--pdeathsig", "TERM", *command)
        with (self.folder / f"{command[3]}.out").open("wb") as log:
            self.daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
            )

    def stop(self) -> None:
        """Cancel every job and end every daemon. AssertionError where a process of the cluster outlives that."""
        self.ask("scancel", "--user=root", check=False)
        for _ in range(100):
            if not self.jobs("RUNNING", "SUSPENDED", "COMPLETING", check=False):
                break
            time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for _ in range(50):
            if not self.processes():
                return
            time.sleep(0.2)
        left = self.processes()
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        raise AssertionError(f"these outlived their cluster: {left}")

    def processes(self, job: str | None = None) -> dict[int, str]:
        """Process -> its command line, of all that were started with this cluster's SLURM_CONF, or of one job."""
        marks = [f"SLURM_CONF={self.folder}/slurm.conf\0".encode()]
        marks += [f"SLURM_JOB_ID={job}\0".encode()] if job else []
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment, status = (folder / "environ").read_bytes(), (folder / "status").read_text()
                if all(mark in environment for mark in marks) and "State:\tZ" not in status:
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:  # ended meanwhile
                continue
        return found

    def hang(self, job: str, program: str) -> bool:
        """Make what runs `program` in a job stand still, as a job does that waits for what never comes."""
        hung = [process for process, command in self.processes(job).items() if f"-m {program} " in command]
        for process in hung:
            os.kill(process, signal.SIGSTOP)
        return bool(hung)

    def ask(self, *command: str, check: bool = True) -> str:
        """The output of a SLURM command."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def jobs(self, *states: str, check: bool = True) -> dict[str, str]:
        """Job id -> its comment (the executor's rule_NAME_wildcards_...), of the jobs in these states or of all."""
        option = f"--states={','.join(states) or 'all'}"
        lines = self.ask("squeue", "--noheader", "--format=%i %k", option, check=check).splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def job(self, number: str) -> dict[str, str]:
        """What the cluster knows of a job: Restarts, TimeLimit, TresPerJob, ..."""
        words = self.ask("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)
