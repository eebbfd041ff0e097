/**
 * From the host ports of this node to what the data path and the host's nftables table work by. Pure.
 *
 * As with node ports: what comes from outside, or from the host, has been sent on to the node's virtual address; a pod that
 * asks for an address of the node is met there. An address that is not the node's for sure leads pods to the host, which
 * knows.
 */
import type { ServicePort } from '../../packet/tables/service-port.ts'
import { familyOf, type IpFamily, type ServiceProtocol } from '../cluster/service-objects.ts'
import { identityOf } from '../control/endpoints.ts'
import { type Here, PROTOCOLS } from '../control/service-ports.ts'
import type { Published } from './host-ports.ts'
import { familiesOf, type HostPort, onlyAddressOf } from './port-mapping.ts'

/** What comes to this port of the host goes on to that port of the node's virtual address. */
export interface Redirect {
  family: IpFamily
  protocol: ServiceProtocol
  /** Undefined: any address of the host. */
  address: string | undefined
  port: number
  virtualAddress: string
  virtualPort: number
}

export function hostPortFrontends(published: readonly Published[], here: Here): ServicePort[] {
  return eachFamily(published, here).map(({ family, hostPort, podAddress, virtualAddress, names }) => {
    const { protocol, containerPort, virtualPort, hostPort: port } = hostPort
    const only = onlyAddressOf(hostPort)
    const inside = here.addresses.filter((one) => familyOf(one) === family && (only === undefined || only === one))
    const words = [...names, protocol, only ?? family, String(port)]
    return {
      identity: identityOf('host port', ...words),
      protocol: PROTOCOLS[protocol],
      frontends: [
        { address: virtualAddress, port: virtualPort },
        ...inside.map((address) => ({ address, port, sharesAddress: true })),
      ],
      endpoints: [
        {
          address: podAddress,
          port: containerPort,
          identity: identityOf('host port of', ...words, podAddress, String(containerPort)),
        },
      ],
      usable: 1,
      inside: [0],
      outside: [0],
      affinitySeconds: 0,
      sourceRanges: [],
    }
  })
}

export function redirectsOf(published: readonly Published[], here: Pick<Here, 'virtualAddresses'>): Redirect[] {
  return eachFamily(published, here).map(({ family, hostPort, virtualAddress }) => ({
    family,
    protocol: hostPort.protocol,
    address: onlyAddressOf(hostPort),
    port: hostPort.hostPort,
    virtualAddress,
    virtualPort: hostPort.virtualPort,
  }))
}

interface OfOneFamily {
  family: IpFamily
  hostPort: HostPort
  podAddress: string
  virtualAddress: string
  names: string[]
}

function eachFamily(
  published: readonly Published[],
  { virtualAddresses }: Pick<Here, 'virtualAddresses'>,
): OfOneFamily[] {
  return published.flatMap(({ containerId, ifName, addresses, hostPorts }) =>
    hostPorts.flatMap((hostPort) =>
      familiesOf(hostPort).flatMap((family) => {
        const podAddress = addresses.find((one) => familyOf(one) === family)
        const virtualAddress = virtualAddresses.find((one) => familyOf(one) === family)
        if (podAddress === undefined || virtualAddress === undefined) return []
        return [{ family, hostPort, podAddress, virtualAddress, names: [containerId, ifName] }]
      }),
    ),
  )
}
