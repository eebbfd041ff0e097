/** What polder changed on the host because it was not as it should be: for the log, and to be counted. */
export interface Mended {
  kind: 'link' | 'address' | 'route' | 'nftables' | 'sysctl' | 'offload'
  /** `10.244.0.0/16 dev polder0`, `net.ipv4.ip_forward = 1` */
  what: string
}
