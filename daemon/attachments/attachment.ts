/**
 * An attachment is one interface in one network namespace, with its addresses: what a CNI ADD makes and a DEL removes,
 * for a container or for a bare namespace.
 */
import type { HostPort, PortMapping } from '../host-ports/port-mapping.ts'

/** What is written to disk. */
export interface Attachment {
  /** CNI_CONTAINERID; `netns-NAME` for a bare namespace. */
  containerId: string
  ifName: string
  /** Path of the network namespace, valid in polderd's own mount namespace. */
  netns: string
  /** Bare addresses, IPv4 first. */
  addresses: string[]
  /** Which Kubernetes pod it belongs to, where the runtime said so. */
  pod?: { namespace: string; name: string; uid?: string }
  /** Ports of the node that lead to it; absent where there are none. */
  hostPorts?: HostPort[]
  /** The network (CNI conflist `name`) it belongs to. */
  network: string
  /** Made by a CNI ADD, and so the container runtime's to garbage-collect; a bare namespace is not. */
  viaCni?: true
  createdAt: string
  /** /proc/sys/kernel/random/boot_id of the boot that made it: no attachment outlives its boot. */
  bootId: string
}

export interface AttachRequest {
  containerId: string
  ifName: string
  netns: string
  network: string
  viaCni?: true
  pod?: { namespace: string; name: string; uid?: string }
  /** At most one a family; without a wish, or for a family without one, the next in turn. */
  wantedAddresses?: string[]
  wantedHostPorts?: PortMapping[]
}

/** What a check goes by where later plugins of a chain may have changed what was made. */
export interface ExpectedAttachment {
  /** Must lead to the attachment's namespace. */
  netns: string
  /** Those of the attachment that must still be there. */
  addresses: string[]
  /** Destinations (CIDR) to which there must still be a route, by whatever way. */
  destinations: string[]
  /** Ports of the node that must lead to it. */
  hostPorts: PortMapping[]
}

/** What stands behind the CNI verbs and the bare namespaces. Errors are PolderErrors. */
export interface Attachments {
  /**
   * Device, addresses and routes in the namespace; resolves after the data path knows the pod. A failure leaves
   * nothing. Codes: `exists`, `netns-missing`, `no-address-left`, `address-unavailable`, `host-port-taken`,
   * `host-port-unavailable`, `not-ready`.
   */
  add(request: AttachRequest): Promise<Attachment>
  /** Succeeds whatever is left of it, any number of times; frees the addresses. `netns` may be gone. */
  remove(containerId: string, ifName: string): Promise<void>
  /**
   * Throws (`check-failed`) with everything that is missing: record, device, addresses, routes. Without `expected`,
   * all must be as it was made.
   */
  check(containerId: string, ifName: string, expected?: ExpectedAttachment): Promise<Attachment>
  get(containerId: string, ifName: string): Attachment | undefined
  list(): Attachment[]
  /** What every attachment of this node has in common. */
  readonly gateways: string[]
  readonly mtuBytes: number
}
