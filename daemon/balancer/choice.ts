/**
 * Which node answers for an address: a pure function of the nodes that may and of who holds it now, so that every node
 * decides the same from the same view. Who has it keeps it while it may; else it goes to the node with the highest hash of
 * the pair, which spreads addresses over nodes and moves none but those of the node that went (rendezvous hashing).
 */
import { createHash } from 'node:crypto'

/** An address that is answered for on the link. */
export interface BalancedAddress {
  address: string
  /** NAMESPACE/NAME of the Service. */
  service: string
  /** Nodes with an endpoint that those from outside may reach through them; undefined: all nodes are alike. */
  nodes: readonly string[] | undefined
}

/** Undefined where nobody may. */
export function chooseAnnouncer(
  { address, nodes }: BalancedAddress,
  alive: readonly string[],
  holder: string | undefined,
): string | undefined {
  const local = nodes === undefined ? [] : alive.filter((node) => nodes.includes(node))
  // Somebody must refuse connections where nobody has an endpoint.
  const eligible = local.length > 0 ? local : alive
  if (holder !== undefined && eligible.includes(holder)) return holder
  return eligible.toSorted((one, other) => (weight(address, one) < weight(address, other) ? 1 : -1))[0]
}

function weight(address: string, node: string): string {
  return createHash('sha256').update(`${address} ${node}`).digest('hex')
}
