/**
 * Whether anything has changed in a network namespace since the last look: interfaces, addresses, routes, nftables. The
 * kernel tells who subscribed (rtnetlink's and nfnetlink's multicast groups). What a notice says is not read: what is
 * there now is found by looking, and a notice that was lost for want of room is a notice like any other.
 *
 * Not told is what happens to sysctls, nor a link's gso_max_size.
 *
 * linux/rtnetlink.h (RTMGRP_*), linux/netfilter/nfnetlink.h (NFNLGRP_*)
 */
import { closeFd, NETLINK_NETFILTER, NETLINK_ROUTE, openNetlink, takeNotices } from '../nic/nic.ts'

const RTMGRP_LINK = 0x1
const RTMGRP_IPV4_IFADDR = 0x10
const RTMGRP_IPV4_ROUTE = 0x40
const RTMGRP_IPV6_IFADDR = 0x100
const RTMGRP_IPV6_ROUTE = 0x400
const ROUTE_GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE
const NFNLGRP_NFTABLES = 7
const NETFILTER_GROUPS = 1 << (NFNLGRP_NFTABLES - 1)

export class Notices {
  readonly #fds: readonly number[]

  /** `netnsFd`: an open file of the namespace, -1 for the caller's own. */
  constructor(netnsFd = -1) {
    this.#fds = [
      openNetlink(netnsFd, ROUTE_GROUPS, NETLINK_ROUTE),
      openNetlink(netnsFd, NETFILTER_GROUPS, NETLINK_NETFILTER),
    ]
  }

  /** Since the last call, or the beginning. Some microseconds. */
  taken(): boolean {
    return this.#fds.map((fd) => takeNotices(fd)).includes(true)
  }

  close(): void {
    for (const fd of this.#fds) closeFd(fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
