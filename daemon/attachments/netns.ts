/**
 * A pod's network namespace as polderd holds it: an open descriptor of /proc/PID/ns/net or of a file it is bound to.
 * The descriptor names that very namespace for good, whatever later happens to the path, and keeps it alive; so does
 * the TUN device's descriptor in any case.
 */
import { closeSync, constants, fstatSync, openSync, statfsSync, statSync } from 'node:fs'
import { PolderError } from '../errors.ts'
import { Netlink } from '../netlink/netlink.ts'
import type { NetlinkError } from '../netlink/netlink-error.ts'

/** statfs(2) type of the pseudo file system that namespace files live in; linux/magic.h */
const NSFS_MAGIC = 0x6e736673

function missing(path: string, why: string): PolderError {
  return new PolderError(
    'netns-missing',
    `${path} ${why}`,
    "give the path of a network namespace that exists, such as /run/netns/NAME of 'ip netns add NAME'",
  )
}

/** Opens the namespace behind `path`. Throws `netns-missing` for what is not one, or is polderd's own. */
export function openNetns(path: string): number {
  let fd: number
  try {
    // Not blocking: somebody may give the path of a FIFO.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw missing(path, `cannot be opened (${(error as NodeJS.ErrnoException).code})`)
  }
  try {
    // Where a namespace was deleted, an empty file may be left of its path.
    if (statfsSync(`/proc/self/fd/${fd}`).type !== NSFS_MAGIC) throw missing(path, 'is not a network namespace')
    const [its, own] = [fstatSync(fd), statSync('/proc/self/ns/net')]
    // A default route through a TUN would cut the host off.
    if (its.ino === own.ino && its.dev === own.dev) throw missing(path, "is the host's own network namespace")
    enter(path, fd)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  return fd
}

/** Only setns(2) tells a network namespace from one of another kind. */
function enter(path: string, fd: number): void {
  try {
    new Netlink(fd).close()
  } catch (error) {
    throw missing(path, `is not a network namespace (${(error as NetlinkError).code})`)
  }
}

/** Whether `path` still leads to the namespace behind `fd`. */
export function leadsTo(path: string, fd: number): boolean {
  const there = statSync(path, { throwIfNoEntry: false })
  const held = fstatSync(fd)
  return there !== undefined && there.ino === held.ino && there.dev === held.dev
}
