//! The files of a small Slurm: everything in one folder, on ports that are free now.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use super::Options;

const CPUS_PER_NODE: usize = 4;

/// As many ports as wanted, below those that the system gives to connections.
fn free_ports(count: usize) -> Vec<u16> {
    let begin = 20_000 + (std::process::id() as u16 % 1_000) * 10;
    let free = (begin..32_000).chain(20_000..begin).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<_> = free.take(count).collect();
    assert_eq!(ports.len(), count, "no {count} ports are free between 20000 and 32000");
    ports
}

/// Writes all files, and tells the port of the database.
pub fn write(folder: &Path, options: &Options) -> u16 {
    let mut ports = free_ports(3 + options.nodes).into_iter();
    let mut port = || ports.next().unwrap();
    let (controller, accounting, database) = (port(), port(), port());
    let nodes: Vec<_> = (1..=options.nodes).map(|n| (format!("n{n}"), port())).collect();
    fs::write(folder.join("slurm.conf"), slurm(folder, options, controller, accounting, &nodes)).unwrap();
    fs::write(folder.join("gres.conf"), gres(folder, options)).unwrap();
    fs::write(folder.join("cgroup.conf"), "CgroupAutomount=no\n").unwrap();
    if options.accounting {
        fs::write(folder.join("slurmdbd.conf"), slurmdbd(folder, accounting, database)).unwrap();
    }
    database
}

fn slurm(folder: &Path, options: &Options, controller: u16, accounting: u16, nodes: &[(String, u16)]) -> String {
    let folder = folder.display();
    let (gather, storage, tres) = match options.accounting {
        // What is enforced is refused: unknown accounts, and what a QOS does not allow.
        true => {
            ("linux", "slurmdbd", "AccountingStorageTRES=gres/gpu\nAccountingStorageEnforce=associations,limits,qos\n")
        }
        // Without slurmdbd slurmctld refuses to count GPUs.
        false => ("none", "none", ""),
    };
    let grace = options.grace_seconds;
    let mut text = format!(
        "ClusterName=sandbox
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
# Neither cgroups nor cores that do not exist are needed.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# One a node: PMIx makes its directory here.
TmpFS={folder}/tmp/%n
SwitchType=switch/none
MailProg=/bin/true
MpiDefault=none
JobAcctGatherType=jobacct_gather/{gather}
AccountingStorageType=accounting_storage/{storage}
AccountingStorageHost=localhost
AccountingStoragePort={accounting}
AccountingStoragePass={folder}/run/munge.sock
{tres}JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
# A node that did not answer comes back when it does; one that was set down stays down.
ReturnToService=1
# More cores and memory than this machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5,sched_min_interval=0
SlurmctldTimeout=30
SlurmdTimeout={slurmd_timeout}
InactiveLimit=0
KillWait=5
OverTimeLimit=0
# Ended jobs can be asked about as long as a test takes.
MinJobAge=900
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
",
        slurmd_timeout = options.slurmd_timeout_seconds,
    );
    if options.user_signal_at_preemption {
        text += "SlurmctldParameters=preempt_send_user_signal\n";
    }
    if options.limits_are_enforced {
        text += "EnforcePartLimits=ALL\nPartitionName=small Nodes=ALL PriorityTier=1 MaxNodes=1 MaxTime=60 State=UP\n";
    }
    if !options.hidden.is_empty() {
        text += &format!("TaskProlog={folder}/prolog.sh\n");
    }
    for (name, port) in nodes {
        text += &format!(
            "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={CPUS_PER_NODE} Boards=1 \
             SocketsPerBoard=1 CoresPerSocket={CPUS_PER_NODE} ThreadsPerCore=1 RealMemory=8000 Gres=gpu:fake:{} \
             State=UNKNOWN\n",
            options.gpus
        );
    }
    text + &format!(
        "PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace} MaxTime=60 State=UP
PartitionName=lowcancel Nodes=ALL Default=NO PriorityTier=1 PreemptMode=CANCEL GraceTime={grace} MaxTime=60 State=UP
PartitionName=high Nodes=ALL Default=NO PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
"
    )
}

/// The number at the end of the name is the device's.
fn gres(folder: &Path, options: &Options) -> String {
    let (nodes, last) = (options.nodes, options.gpus - 1);
    let folder = folder.display();
    format!("AutoDetect=off\nNodeName=n[1-{nodes}] Name=gpu Type=fake File={folder}/dev/nvidia[0-{last}]\n")
}

fn slurmdbd(folder: &Path, accounting: u16, database: u16) -> String {
    let folder = folder.display();
    // Over TCP: the client library would look for a socket at its default place.
    format!(
        "AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
DbdHost=localhost
DbdPort={accounting}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageLoc=slurm_acct_db
StorageUser=slurm
StoragePass=sandbox
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"
    )
}
