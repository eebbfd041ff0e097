/**
 * What the attachments need from the data path: a pod's device becomes a port of it, known by the pod's addresses.
 */
export interface PodPorts {
  /**
   * Hands over an open TUN descriptor. Resolves to the port's number once the data path knows the pod: packets to its
   * addresses reach it from then on. Where it rejects, the descriptor stays the caller's.
   */
  addPod(fd: number, addresses: string[]): Promise<number>
  /** Resolves once the data path has forgotten the pod and the descriptor is closed. */
  removePod(port: number): Promise<void>
}
