/**
 * What is wrong with the objects together though each of them is right: pods in a namespace that nobody declared, nodes
 * with overlapping pod ranges, Services that want what another has. Such objects stay in force; a person is told.
 */
import { join } from 'node:path'
import type { Node } from '../objects.ts'
import { refusalOf, type Service } from '../service-objects.ts'
import type { Problem } from '../store.ts'
import { keyOf, specPath } from './layout.ts'
import type { Mirror } from './mirror.ts'
import { firstOverlap } from './range-plan.ts'

export function contradictions(mirror: Mirror, folder: string): Problem[] {
  return [
    ...undeclaredNamespaces(mirror, folder),
    ...overlappingNodes(mirror.list('Node'), folder),
    ...refusedServices(mirror.list('Service'), folder),
  ]
}

function undeclaredNamespaces(mirror: Mirror, folder: string): Problem[] {
  const problems: Problem[] = []
  for (const object of [...mirror.list('Pod'), ...mirror.list('Service'), ...mirror.list('EndpointSlice')]) {
    // Who ends may outlive its namespace.
    if (object.metadata.deletionTimestamp !== undefined) continue
    const namespace = object.metadata.namespace ?? 'default'
    if (mirror.get('Namespace', namespace) !== undefined) continue
    const place = join(folder, specPath(keyOf(object)))
    const remedy = `write ${join(folder, specPath({ kind: 'Namespace', name: namespace }))}`
    problems.push({ place, message: `there is no Namespace ${namespace}: ${remedy}` })
  }
  return problems
}

function overlappingNodes(nodes: Node[], folder: string): Problem[] {
  const problems: Problem[] = []
  for (const [index, node] of nodes.entries()) {
    for (const other of nodes.slice(0, index)) {
      const pair = firstOverlap(node.spec.podCIDRs, other.spec.podCIDRs)
      if (pair === undefined) continue
      const message = `spec.podCIDRs: ${pair[0]} overlaps with ${pair[1]} of node ${other.metadata.name}: change one of them`
      problems.push({ place: join(folder, specPath(keyOf(node))), message })
    }
  }
  return problems
}

function refusedServices(services: Service[], folder: string): Problem[] {
  return services.flatMap((service) => {
    const message = refusalOf(service)
    return message === undefined ? [] : [{ place: join(folder, specPath(keyOf(service))), message }]
  })
}
