/**
 * All that pods leave traces of on the nodes of a lab, and what is different between two looks: so that a test says not
 * only that something was left over, but what.
 *
 *   const before = await footprint(lab)
 *   ... pods come and go ...
 *   await expect.poll(async () => differences(before, await footprint(lab))).toEqual([])
 *
 * No trace is what goes by itself: a released attachment record while its address cools down, and a half-written
 * temporary file of a polderd that was killed, which the next start removes once it is a minute old.
 */
import { execFileSync } from 'node:child_process'
import { Client } from '../../cli/client.ts'
import { snapshotterOf } from '../../cli/lab/containerd.ts'
import { type Lab, type LabNode, nodesOf } from '../../cli/lab/lab.ts'
import { polderdOf } from '../../cli/lab/polderd.ts'
import { nodeInits, runInside } from '../../cli/lab/processes.ts'

/** Shell commands inside a node, one thing a line; SNAPSHOTTER and POLDERD, its pid, are set. Where a folder is absent, there is nothing. */
const LOOKS: Record<string, string> = {
  interface: "ip -o link | awk '{ print $2 }'",
  'interface address': "ip -o address | awk '{ print $2, $4 }'",
  'IPv4 route': 'ip -4 -o route show table all',
  'IPv6 route': 'ip -6 -o route show table all',
  namespace: 'find /run/netns /var/run/netns -mindepth 1',
  'interface of a namespace': `for n in /run/netns/*; do nsenter --net=$n ip -o link | sed "s|^|$n |"; done | awk '$3 != "lo:" { print $1, $3 }'`,
  mount: "cut -d' ' -f5 /proc/self/mountinfo | grep -E '^/(run|var/lib)/containerd/|^/run/netns/cni-'",
  'CNI cache file': 'find /var/lib/cni -type f',
  'attachment record': "find /var/lib/polder/attachments -type f ! -name '*.released'",
  'spooled DEL': 'find /var/lib/polder/spool -type f',
  'named pipe of exec': 'find /run/polder/exec -mindepth 1',
  'pod log': 'find /var/log/pods -mindepth 1',
  'containerd container': 'ctr -n k8s.io containers list -q',
  'containerd task': 'ctr -n k8s.io tasks list -q',
  'containerd snapshot': `ctr -n k8s.io snapshots --snapshotter $SNAPSHOTTER list | awk '$NF == "Active" { print $1 }'`,
  'CRI sandbox folder': 'find /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes -mindepth 1 -maxdepth 1',
  // What was started by nsenter, this look among them, is in a session that the node does not know.
  process: "ps -eo sid=,comm= | awk '$1 > 0 { print $2 }'",
  // Namespaces and TUN devices that it holds; the others come and go, or are the store's.
  'descriptor of polderd': `find /proc/$POLDERD/fd -mindepth 1 ! -lname '*:*' ! -lname '/var/lib/polder/*' -printf '%l\\n'
    find /proc/$POLDERD/fd -lname 'net:*' -printf '%l\\n'`,
}

/** Every trace, as `NODE KIND: THING`; a thing that is there twice is listed twice. */
export type Footprint = string[]

export async function footprint(lab: Lab): Promise<Footprint> {
  const inits = nodeInits(lab)
  const ofNodes = await Promise.all(nodesOf(lab).map((node) => footprintOf(node, inits.get(node.name)!)))
  const find = [lab.clusterFolder, '-type', 'f', '!', '-name', '.polder-*.tmp']
  const files = execFileSync('find', find, { encoding: 'utf8' }).trim().split('\n')
  return [...ofNodes.flat(), ...files.map((file) => `cluster file: ${file}`)]
}

/** `left over: TRACE` for what only the second one has, `missing: TRACE` for what only the first one has. */
export function differences(before: Footprint, after: Footprint): string[] {
  const leftOver = without(after, before).map((trace) => `left over: ${trace}`)
  return [...leftOver, ...without(before, after).map((trace) => `missing: ${trace}`)]
}

async function footprintOf(node: LabNode, init: number): Promise<Footprint> {
  const client = new Client(polderdOf(node).socket)
  const [{ pid }, attachments] = await Promise.all([client.node(), client.attachments()])
  const marked = Object.entries(LOOKS).map(([kind, look]) => `{ ${look}; } 2>/dev/null | sed 's|^|${kind}: |'`)
  const script = [`POLDERD=${pid} SNAPSHOTTER=${await snapshotterOf(node)}`, ...marked].join('\n')
  const lines = (await runInside(node, init, ['sh', '-c', script])).trimEnd().split('\n')
  const addresses = attachments.flatMap((each) => each.addresses.map((ip) => `address: ${ip} of ${each.containerId}`))
  return [...lines, ...addresses].map((trace) => `${node.name} ${trace}`)
}

/**
 * What containerd 1.6 loses by itself when it is killed: the namespace that it made before it noted the sandbox (its
 * issue cri#568: nothing of polder is in it, else an `interface of a namespace` or an `attachment record` is left too),
 * the snapshot of a container that it had not noted yet (collected after a day), a shim without a task.
 */
export const LOST_BY_KILLED_CONTAINERD =
  /^left over: \S+ (namespace: (\/var)?\/run\/netns\/cni-|mount: \/run\/netns\/cni-|process: containerd-shim$|containerd snapshot: )/

/** What of `all` is left when each of `taken` is taken out once. */
function without(all: string[], taken: string[]): string[] {
  const counts = new Map<string, number>()
  for (const each of taken) counts.set(each, (counts.get(each) ?? 0) + 1)
  return all.filter((each) => {
    const count = counts.get(each) ?? 0
    counts.set(each, count - 1)
    return count <= 0
  })
}
