/** Everything that can be set, as polderd uses it once read and checked. settings.ts holds names, defaults and checks. */
export interface Config {
  nodeName: string
  /** Pod ranges of the whole cluster, at most one for each family. */
  podCIDRs: string[]
  nodeMaskSizeIPv4: number
  nodeMaskSizeIPv6: number
  /** Whether polder serves Services; `off` leaves them to others, kube-proxy say. */
  services: 'on' | 'off'
  /** Where Services have their addresses, at most one range for each family; none where they are off. */
  serviceCIDRs: string[]
  /** Where Services of type LoadBalancer have their addresses from: CIDRs, or FIRST-LAST. */
  loadBalancerPools: string[]
  clusterFolder: string
  /** Empty: the interface of the underlay address, or of the default route, or the only one that is up. */
  underlayInterface: string
  /** Empty: the first address of the underlay interface, IPv4 before IPv6. */
  underlayAddress: string
  vxlanPort: number
  vxlanVni: number
  /** VXLAN for every peer, or directly where both ends allow it and are on one link. */
  encapsulation: 'vxlan' | 'none' | 'auto'
  /** Whether the outer header takes over the DSCP of the packet inside. ECN always does. */
  copyDscp: boolean
  maxFlows: number
  /** Run the pods that are bound to this node. Off under Kubernetes. */
  runner: boolean
  containerdSocket: string
  cniConfDir: string
  cniBinDir: string
  /** STATUS of CNI fails when no address is left for another pod. */
  statusFailsWhenFull: boolean
  /** Turn forwarding on where it is off, or only say so. */
  hostSysctls: 'manage' | 'check'
  /** Turn generic receive offload of the underlay interface on where it is off, or only say so. */
  underlayGro: 'manage' | 'check'
  /** Keep descriptors in a process of their own, where there is no systemd to keep them. */
  keeper: boolean
  socket: string
  stateDir: string
  logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'
}
