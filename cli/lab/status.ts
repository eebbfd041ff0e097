/** `polder lab status`: what of the lab runs, as a table. */
import { formatTable } from '../table.ts'
import { containerdOf } from './containerd.ts'
import { answers } from './daemons.ts'
import { type Lab, type LabNode, nodesOf, underlayAddresses } from './lab.ts'
import { nodeInfo } from './polderd.ts'
import { nodeInits } from './processes.ts'

interface NodeState {
  node: LabNode
  init: number | undefined
  containerd: boolean
  polderd: boolean
  podCIDRs: string[]
}

export async function labState(lab: Lab): Promise<NodeState[]> {
  const inits = nodeInits(lab)
  return Promise.all(
    nodesOf(lab).map(async (node) => {
      const init = inits.get(node.name)
      const containerd = init !== undefined && (await answers(containerdOf(node, init).socket))
      const info = await nodeInfo(node)
      return { node, init, containerd, polderd: info !== undefined, podCIDRs: info?.podCIDRs ?? [] }
    }),
  )
}

export function describeLab(lab: Lab, states: NodeState[]): string {
  if (states.length === 0) return 'The lab is not up. Start it with: sudo polder lab up'
  const rows = states.map(({ node, init, containerd, polderd, podCIDRs }) => {
    const { ipv4, ipv6 } = underlayAddresses(node)
    const word = (works: boolean) => (works ? 'runs' : 'down')
    const pid = init === undefined ? 'none' : String(init)
    return [
      node.name,
      pid,
      `${ipv4},${ipv6}`,
      podCIDRs.join(',') || 'none',
      word(containerd),
      word(polderd),
      node.stateDir,
    ]
  })
  const header = ['NODE', 'PID', 'UNDERLAY', 'POD RANGES', 'CONTAINERD', 'POLDERD', 'LOGS IN']
  return `${formatTable([header, ...rows])}\nCluster state, one file an object: ${lab.clusterFolder}`
}
