#!/bin/bash
# The first process of a lab node: makes the node's own view of the machine inside fresh mount, pid, uts, ipc, cgroup
# and network namespaces, then becomes catatonit, which reaps what the node's daemons leave. Starts no daemon.
#
#   node-init.sh NAME STATE_DIR [cgroup MOUNTPOINT OPTIONS]... [folder FROM TO]...
set -euo pipefail
name=$1 state=$2
shift 2

echo "$name" >/proc/sys/kernel/hostname
mount -t proc proc /proc
# A sysfs shows the network devices of the namespace it was mounted in.
mount -t sysfs sysfs /sys
ip link set lo up

while (($# > 0)); do
  kind=$1 from=$2 to=$3
  shift 3
  case $kind in
    cgroup)
      if [[ -z $to ]]; then
        mkdir -p "$from"
        mount -t cgroup2 cgroup2 "$from"
        echo 0 >"$from/init/cgroup.procs"
      else
        # The fresh sysfs has an empty directory here, where no other can be made.
        [[ $(stat -fc %T /sys/fs/cgroup) == tmpfs ]] || mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
        mkdir -p "$from"
        mount -t cgroup -o "$to" cgroup "$from"
        # Programs look for `cpu` where the hierarchy is mounted as `cpu,cpuacct`.
        [[ $to != *,* || $to == none,* ]] || for controller in ${to//,/ }; do
          ln -sfn "${from##*/}" "/sys/fs/cgroup/$controller"
        done
      fi
      ;;
    folder)
      mkdir -p "$to"
      mount --bind "$from" "$to"
      ;;
  esac
done

# The node's /run is empty but for /run/polder, which others reach from outside the node. The new /run is built beside
# the old one, where the state directory still is, and moved over it. (-n: no note of it in the old /run.)
mkdir -p "$state/run"
mount -n -t tmpfs -o mode=755 tmpfs "$state/run"
mkdir -p "$state/run/polder" "$state/run/netns" "$state/run/lock"
mount -n --bind "$state/run-polder" "$state/run/polder"
mount -n --move "$state/run" /run

exec catatonit -P
