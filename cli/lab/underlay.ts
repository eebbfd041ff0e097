/**
 * The network between the lab's nodes: a bridge in a network namespace of its own, and a veth from it to each node,
 * there called `underlay`. The machine's own network is not touched and not reached.
 */
import { existsSync } from 'node:fs'
import type { Lab, LabNode } from './lab.ts'
import { underlayAddresses } from './lab.ts'
import { run } from './processes.ts'

export const UNDERLAY_INTERFACE = 'underlay'
const BRIDGE = 'bridge'

/** Makes the bridge unless it is there. */
export async function ensureBridge(lab: Lab): Promise<void> {
  const netns = lab.underlayNetns
  const links = await linksIn(netns)
  if (links?.includes(BRIDGE)) return
  if (links === undefined) {
    await removeNetns(netns)
    await run('ip', ['netns', 'add', netns])
  }
  await run('ip', ['-n', netns, 'link', 'add', BRIDGE, 'type', 'bridge'])
  await run('ip', ['-n', netns, 'link', 'set', BRIDGE, 'up'])
}

/** A new network namespace for the node, joined to the bridge. Whatever was left of an earlier one goes first. */
export async function makeNodeNetwork(node: LabNode): Promise<void> {
  await removeNodeNetwork(node)
  const { ipv4, ipv6 } = underlayAddresses(node)
  const bridge = node.lab.underlayNetns
  // A node that is started again keeps its MAC, as a machine does: the others have it in their neighbor tables.
  const mac = `02:30:00:00:00:${node.number.toString(16).padStart(2, '0')}`
  const peer = ['peer', 'name', UNDERLAY_INTERFACE, 'address', mac, 'netns', node.netns]
  await run('ip', ['netns', 'add', node.netns])
  await run('ip', ['-n', bridge, 'link', 'add', node.name, 'type', 'veth', ...peer])
  await run('ip', ['-n', bridge, 'link', 'set', node.name, 'master', BRIDGE, 'up'])
  await run('ip', ['-n', node.netns, 'addr', 'add', `${ipv4}/24`, 'dev', UNDERLAY_INTERFACE])
  await run('ip', ['-n', node.netns, 'addr', 'add', `${ipv6}/64`, 'dev', UNDERLAY_INTERFACE, 'nodad'])
  await run('ip', ['-n', node.netns, 'link', 'set', UNDERLAY_INTERFACE, 'up'])
}

export async function removeNodeNetwork(node: LabNode): Promise<void> {
  const bridge = node.lab.underlayNetns
  // Deleted by name: a namespace that some process is still in does not go with its name, nor would its veth.
  if ((await linksIn(bridge))?.includes(node.name)) await run('ip', ['-n', bridge, 'link', 'del', node.name])
  await removeNetns(node.netns)
}

export async function removeBridge(lab: Lab): Promise<void> {
  const netns = lab.underlayNetns
  if ((await linksIn(netns))?.includes(BRIDGE)) await run('ip', ['-n', netns, 'link', 'del', BRIDGE])
  await removeNetns(netns)
}

async function removeNetns(name: string): Promise<void> {
  if (existsSync(`/run/netns/${name}`)) await run('ip', ['netns', 'del', name])
}

/** The interfaces in a namespace, or undefined where it is none: no such name, or a file left by an earlier boot. */
async function linksIn(netns: string): Promise<string[] | undefined> {
  if (!existsSync(`/run/netns/${netns}`)) return undefined
  try {
    const links = JSON.parse(await run('ip', ['-j', '-n', netns, 'link', 'show'])) as { ifname: string }[]
    return links.map(({ ifname }) => ifname)
  } catch {
    return undefined
  }
}
