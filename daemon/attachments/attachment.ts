/**
 * An attachment is one interface in one network namespace, with its addresses: what a CNI ADD makes and a DEL removes,
 * for a container or for a bare namespace. This record is what is written to disk.
 */
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
  /** The network (CNI conflist `name`) it belongs to. */
  network: string
  createdAt: string
  /** /proc/sys/kernel/random/boot_id of the boot that made it: no attachment outlives its boot. */
  bootId: string
}

export interface AttachRequest {
  containerId: string
  ifName: string
  netns: string
  network: string
  pod?: { namespace: string; name: string; uid?: string }
}

/** What stands behind the CNI verbs and the bare namespaces. Errors are PolderErrors. */
export interface Attachments {
  /**
   * Device, addresses and routes in the namespace; resolves after the data path knows the pod. A failure leaves
   * nothing. Codes: `exists`, `netns-missing`, `no-address-left`, `not-ready`.
   */
  add(request: AttachRequest): Promise<Attachment>
  /** Succeeds whatever is left of it, any number of times; frees the addresses. `netns` may be gone. */
  remove(containerId: string, ifName: string): Promise<void>
  /** Throws (`check-failed`) with everything that is missing: record, device, addresses, routes. */
  check(containerId: string, ifName: string): Promise<Attachment>
  get(containerId: string, ifName: string): Attachment | undefined
  list(): Attachment[]
  /** What every attachment of this node has in common. */
  readonly gateways: string[]
  readonly mtuBytes: number
}
