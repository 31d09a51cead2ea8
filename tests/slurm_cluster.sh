#!/usr/bin/env bash
# Start, stop or inspect a throw-away SLURM cluster on one machine, for tests.
#
# No systemd, no cgroups, nothing under /etc or /var: configuration, spool, logs, sockets and the accounting database
# lie in the given folder, every port is bound to loopback. Works as root and as an ordinary user. Each node is a slurmd
# of its own; CPUs, memory and GPUs are pretended. `start` on a running cluster reports it, `stop` on a stopped one
# does nothing, `start` after a crash picks up the old state. What is stopped is known by its pid.
#
#   slurm_cluster.sh install             Debian packages (root)
#   slurm_cluster.sh start  DIR [options]
#   slurm_cluster.sh status DIR          0: up, 3: not
#   slurm_cluster.sh stop   DIR [--purge]
#
# Options of start (kept in DIR/settings; a later start reuses them):
#   --nodes N        nodes, node1 to nodeN               (default: 2)
#   --cpus N         CPUs each node pretends to have     (default: 8)
#   --mem MB         memory each node pretends to have   (default: 200000)
#   --gpus N         GPUs each node pretends to have     (default: 2)
#   --port BASE      uses BASE to BASE + 1 + N           (default: 26817)
#
# Partitions: main (default), and high, whose jobs preempt those of main.
set -euo pipefail

die() {
    echo "slurm_cluster: $*" >&2
    exit 1
}
say() { echo "slurm_cluster: $*"; }
usage() {
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
    exit "${1:-0}"
}

PATH="$PATH:/usr/sbin:/sbin"
ACTION="${1:-}"
shift || true

do_install() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        munge slurmctld slurmd slurm-client slurmdbd mariadb-server >/dev/null
}

# ---- processes ---------------------------------------------------------------
# A daemon is ours when the pid in its pid file is alive, runs the expected program, and has this folder in its
# command line or environment. Nothing else is ever signalled.
owned() { # owned NAME [PROGRAM] -> prints the pid, or fails
    local pid prog file="$D/run/$1.pid" want=${2:-$1}
    pid=$({ tr -dc 0-9 <"$file"; } 2>/dev/null) || return 1
    [ -n "$pid" ] && [ -r "/proc/$pid/cmdline" ] || return 1
    prog=$(basename "$(readlink "/proc/$pid/exe" 2>/dev/null)" || true)
    case "$prog" in "$want" | "$want"-wlm) ;; *) return 1 ;; esac
    { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$D/" ||
        { tr '\0' '\n' <"/proc/$pid/environ"; } 2>/dev/null | grep -qF -- "=$D/" || return 1
    echo "$pid"
}

wait_for() { # wait_for SECONDS WHAT command...: more than ten times what it takes, on a busy machine too
    local limit=$1 what=$2 until
    shift 2
    until=$((SECONDS + limit))
    while [ $SECONDS -le $until ]; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    say "gave up on: $what; last log lines:" >&2
    tail -n 5 "$D"/log/*.log >&2 2>/dev/null || true
    return 1
}

end() { # end NAME [PROGRAM]: TERM, wait, KILL
    local pid i
    pid=$(owned "$@") || {
        rm -f "$D/run/$1.pid"
        return 0
    }
    kill -TERM "$pid" 2>/dev/null || true
    for ((i = 0; i < 1000; i++)); do
        owned "$@" >/dev/null || break
        sleep 0.1
    done
    if owned "$@" >/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
    rm -f "$D/run/$1.pid"
    say "stopped $1 (pid $pid)"
}

load() {
    D=${1:-}
    [ -n "$D" ] || usage 2
    if [ "$ACTION" = start ]; then mkdir -p "$D"; fi
    if [ ! -d "$D" ]; then
        say "no such folder: $D"
        if [ "$ACTION" = stop ]; then exit 0; else exit 3; fi
    fi
    D=$(cd "$D" && pwd -P)
    [ "${#D}" -le 80 ] || die "the path of the folder is too long for a socket in it: $D"
    [[ "$D" =~ ^[A-Za-z0-9_./-]+$ ]] || die "the path of the folder has unusual characters: $D"
    NODES=2
    CPUS=8
    MEM=200000
    GPUS=2
    PORT=26817
    # shellcheck source=/dev/null  # written by this script
    if [ -f "$D/settings" ]; then . "$D/settings"; fi
    export SLURM_CONF="$D/etc/slurm.conf"
    host=$(hostname -s)
}

# ---- configuration -----------------------------------------------------------
write_config() {
    local me i n
    me=$(id -un)
    mkdir -p "$D"/{etc,log,run,ctld,spool,munge,dev,bin}
    chmod 755 "$D" "$D/munge" "$D/run"
    chmod 700 "$D/ctld"
    printf 'NODES=%s\nCPUS=%s\nMEM=%s\nGPUS=%s\nPORT=%s\n' "$NODES" "$CPUS" "$MEM" "$GPUS" "$PORT" >"$D/settings"
    if [ ! -s "$D/munge/munge.key" ]; then
        (
            umask 077
            head -c 128 /dev/urandom >"$D/munge/munge.key"
        )
    fi
    # slurmd wants a character device behind File= and takes the GPU's index from its name: links to /dev/null do
    : >"$D/etc/gres.conf"
    for ((i = 0; i < GPUS; i++)); do
        ln -sfn /dev/null "$D/dev/gpu$i"
        for ((n = 1; n <= NODES; n++)); do
            echo "NodeName=node$n Name=gpu Type=fake File=$D/dev/gpu$i" >>"$D/etc/gres.conf"
        done
    done
    (
        umask 077
        cat >"$D/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$D/munge/munge.socket.2
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=$me
CommunicationParameters=NoInAddrAny
LogFile=$D/log/slurmdbd.log
PidFile=$D/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$me
StorageLoc=slurm_acct
CONF
    )
    cat >"$D/etc/slurm.conf" <<CONF
ClusterName=throwaway
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$me
SlurmdUser=$me
SlurmctldPort=$PORT
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
# cred_expire: also what a requeued job waits before it starts again; 120 s unless told
AuthInfo=socket=$D/munge/munge.socket.2,cred_expire=20
StateSaveLocation=$D/ctld
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/%n.log
SlurmctldDebug=info
SlurmdDebug=info
MailProg=/bin/true

# No cgroups. pgid, not linuxproc: the latter follows parent pids, so a child that outlives its shell escapes scancel
ProctrackType=proctrack/pgid
TaskPlugin=task/none
# memory limits by polling instead (kills what exceeds its request)
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss

SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
DefMemPerCPU=200

# react fast: this is for tests. sched_interval: 60 s unless told, which requeued jobs wait besides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
KillWait=10
OverTimeLimit=0
MinJobAge=3600
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE

AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$D/munge/munge.socket.2
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment

SlurmdParameters=config_overrides
CONF
    {
        for ((n = 1; n <= NODES; n++)); do
            echo "NodeName=node$n NodeHostname=$host NodeAddr=127.0.0.1 Port=$((PORT + 1 + n)) CPUs=$CPUS" \
                "RealMemory=$MEM Gres=gpu:fake:$GPUS State=UNKNOWN"
        done
        echo "PartitionName=main Default=YES Nodes=ALL MaxTime=2-00:00:00 DefaultTime=00:30:00 PriorityTier=1"
        echo "PartitionName=high Nodes=ALL MaxTime=1-00:00:00 PriorityTier=10"
    } >>"$D/etc/slurm.conf"
    # Snakemake's step executor empties the environment of SLURM_*, SLURM_CONF included, before its inner srun. PATH
    # survives, so every client gets a wrapper that puts SLURM_CONF back.
    local tool real
    for tool in srun sbatch salloc scancel squeue sinfo scontrol sacct sacctmgr sprio sdiag; do
        real=$(PATH=${PATH//"$D/bin:"/} command -v "$tool") || continue
        printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$D/etc/slurm.conf" "$real" >"$D/bin/$tool"
        chmod 755 "$D/bin/$tool"
    done
    cat >"$D/env.sh" <<CONF
export SLURM_CONF=$D/etc/slurm.conf
case ":\$PATH:" in *":$D/bin:"*) ;; *) export PATH=$D/bin:\$PATH ;; esac
CONF
}

# ---- start -------------------------------------------------------------------
start_munged() {
    owned munged >/dev/null && return
    munged --origin=127.0.0.1 --socket="$D/munge/munge.socket.2" --key-file="$D/munge/munge.key" \
        --pid-file="$D/run/munged.pid" --log-file="$D/log/munged.log" --seed-file="$D/munge/munged.seed"
    wait_for 600 munged owned munged
}

start_mariadb() {
    owned mariadbd >/dev/null && return
    local me TMPDIR
    me=$(id -un)
    mkdir -p "$D/mysql-tmp" # of its own: two clusters that start at once give tables in /tmp the same names
    export TMPDIR="$D/mysql-tmp"
    if [ ! -d "$D/mysql/mysql" ]; then
        mariadb-install-db --no-defaults --user="$me" --datadir="$D/mysql" \
            --auth-root-authentication-method=socket --skip-test-db \
            >"$D/log/mariadb-install.log" 2>&1 || die "mariadb-install-db failed, see $D/log"
    fi
    setsid mariadbd --no-defaults --user="$me" --datadir="$D/mysql" --socket="$D/run/mysql.sock" \
        --pid-file="$D/run/mariadbd.pid" --skip-networking --innodb-buffer-pool-size=64M \
        --innodb-lock-wait-timeout=900 --performance-schema=OFF >"$D/log/mariadbd.log" 2>&1 </dev/null &
    disown
    wait_for 1200 mariadbd mariadb-admin --no-defaults --socket="$D/run/mysql.sock" ping
    mariadb --no-defaults --socket="$D/run/mysql.sock" -e "CREATE DATABASE IF NOT EXISTS slurm_acct;"
}

start_slurmdbd() {
    owned slurmdbd >/dev/null && return
    # no network for the database: the client library finds the socket by this
    MYSQL_UNIX_PORT="$D/run/mysql.sock" SLURM_CONF="$D/etc/slurmdbd.conf" slurmdbd
    wait_for 1200 slurmdbd timeout 60 sacctmgr -n show cluster
}

ctld_up() { timeout 60 scontrol ping | grep -q 'is UP'; }
nodes_ready() { [ "$(timeout 60 sinfo -h -N -p main -o %T | grep -cE '^(idle|mixed|allocated)$')" = "$NODES" ]; }

do_start() {
    load "${1:-}"
    shift
    local n bin given=$#
    while [ $# -gt 0 ]; do
        case "$1" in
        --nodes) NODES=$2 ;;
        --cpus) CPUS=$2 ;;
        --mem) MEM=$2 ;;
        --gpus) GPUS=$2 ;;
        --port) PORT=$2 ;;
        *) die "unknown option $1" ;;
        esac
        shift 2
    done
    if owned slurmctld >/dev/null; then
        [ "$given" -eq 0 ] || say "already running: options are ignored until it is stopped" >&2
        load "$D"
    fi
    # What binds to loopback binds to what the host name resolves to; 127.0.1.1 does not do, for answers come from 127.0.0.1
    [ "$(getent ahostsv4 "$host" | awk '{print $1; exit}')" = 127.0.0.1 ] ||
        die "the host name $host does not resolve to 127.0.0.1: put '127.0.0.1 $host' first in /etc/hosts"
    for bin in munged slurmctld slurmd sinfo slurmdbd mariadbd; do
        command -v "$bin" >/dev/null || die "$bin is missing; run: $0 install"
    done

    owned slurmctld >/dev/null || write_config
    trap '[ $? -eq 0 ] || { trap - EXIT; say "start failed, stopping again" >&2; do_stop "$D" >&2; exit 1; }' EXIT
    start_munged
    start_mariadb
    start_slurmdbd
    owned slurmctld >/dev/null || {
        slurmctld -f "$SLURM_CONF"
        wait_for 600 slurmctld ctld_up
    }
    for ((n = 1; n <= NODES; n++)); do
        owned "node$n" slurmd >/dev/null || slurmd -f "$SLURM_CONF" -N "node$n"
    done
    wait_for 1200 "nodes to become idle" nodes_ready
    trap - EXIT
    do_status "$D"
    echo "Use it: . $D/env.sh"
}

do_status() {
    load "${1:-}"
    local name pid n ok=0
    for name in munged mariadbd slurmdbd slurmctld; do
        if pid=$(owned "$name"); then echo "$name: pid $pid"; else
            echo "$name: not running"
            ok=1
        fi
    done
    for ((n = 1; n <= NODES; n++)); do
        if pid=$(owned "node$n" slurmd); then echo "node$n: pid $pid"; else
            echo "node$n: not running"
            ok=1
        fi
    done
    [ $ok -eq 0 ] || return 3
    timeout 60 sinfo -N -p main -o '%N %T cpus=%c mem=%mM gres=%G' || return 3
}

# ---- stop --------------------------------------------------------------------
# Job processes that got away from slurmstepd carry SLURM_JOB_ID and this folder's SLURM_CONF or PATH.
leftovers() {
    local p env
    for p in /proc/[0-9]*; do
        case "${p#/proc/}" in "$$" | "$PPID") continue ;; esac
        env=$({ tr '\0' '\n' <"$p/environ"; } 2>/dev/null) || continue
        grep -q '^SLURM_JOB_ID=' <<<"$env" || continue
        grep -qE "^(SLURM_CONF=$D/etc/slurm.conf\$|PATH=(.*:)?$D/bin(:|\$))" <<<"$env" || continue
        echo "${p#/proc/}"
    done
}

do_stop() {
    load "${1:-}"
    local pid n
    if owned slurmctld >/dev/null; then # job processes outlive slurmd, so the jobs end first
        timeout 60 squeue -h -o %A | sort -u | xargs -r scancel 2>/dev/null || true
        # shellcheck disable=SC2016  # the inner bash expands it
        wait_for 200 "jobs to end" bash -c '[ -z "$(timeout 60 squeue -h)" ]' || true
    fi
    for ((n = 1; n <= NODES; n++)); do end "node$n" slurmd; done
    end slurmctld
    end slurmdbd
    end mariadbd
    end munged
    for pid in $(leftovers); do
        kill -KILL "$pid" 2>/dev/null && say "killed leftover job process $pid" || true
    done
    if [ "${2:-}" = "--purge" ]; then
        [ -f "$D/settings" ] || die "refusing to remove $D: no settings file in it"
        rm -rf -- "$D"
        say "removed $D"
    fi
}

case "$ACTION" in
install) do_install ;;
start) do_start "$@" ;;
status) do_status "$@" ;;
stop) do_stop "$@" ;;
-h | --help | help) usage 0 ;;
*) usage 2 ;;
esac
