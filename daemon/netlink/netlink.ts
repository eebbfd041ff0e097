/**
 * What polderd does with rtnetlink in one network namespace: interfaces, addresses, routes; synchronous (socket.ts).
 *
 * Every method throws NetlinkError. It does not watch for changes.
 */
import { NETLINK_ROUTE } from '../nic/nic.ts'
import type { Address } from './address.ts'
import * as addresses from './address.ts'
import type { Link, LinkSettings } from './link.ts'
import * as links from './link.ts'
import * as message from './message.ts'
import { NetlinkError } from './netlink-error.ts'
import type { Route, RouteAnswer, RouteSpec, RouteTarget } from './route.ts'
import * as routes from './route.ts'
import { NetlinkSocket } from './socket.ts'

const CREATE = message.NLM_F_CREATE | message.NLM_F_EXCL
const REPLACE = message.NLM_F_CREATE | message.NLM_F_REPLACE

export interface RouteFilter {
  /** Default: the main table. */
  table?: number | 'all'
  protocol?: number
}

export class Netlink {
  readonly #socket: NetlinkSocket

  /** `netnsFd`: an open file of the namespace, -1 for the caller's own. */
  constructor(netnsFd = -1) {
    this.#socket = new NetlinkSocket(netnsFd, NETLINK_ROUTE)
  }

  close(): void {
    this.#socket.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  links(): Link[] {
    return this.#socket
      .dump('list links', links.RTM_GETLINK, links.encodeLinkQuery())
      .map((answer) => links.decodeLink(answer.body))
  }

  /** By name or index; undefined where there is none. */
  link(nameOrIndex: string | number): Link | undefined {
    const query = links.encodeLinkQuery(nameOrIndex)
    const find = () => this.#socket.request(`find link ${nameOrIndex}`, links.RTM_GETLINK, 0, query)
    const [answer] = unlessMissing(['ENODEV'], find) ?? []
    return answer && links.decodeLink(answer.body)
  }

  /** All settings but `up` are there before the device comes up, so that it never runs with others. */
  setLink(index: number, settings: LinkSettings): void {
    const { up, ...others } = settings
    const operation = `set link ${index}`
    if (Object.keys(others).length > 0)
      this.#socket.request(operation, links.RTM_NEWLINK, 0, links.encodeLinkSettings(index, others))
    if (up !== undefined) this.#socket.request(operation, links.RTM_NEWLINK, 0, links.encodeLinkState(index, up))
  }

  addBridge(name: string): Link {
    return this.#addLink(name, `add bridge ${name}`, links.encodeBridge(name))
  }

  /** A veth pair; the peer is born in the namespace behind `peer.netnsFd`, where one is given. */
  addVeth(name: string, peer: { name: string; netnsFd?: number }): Link {
    return this.#addLink(name, `add veth pair ${name}, ${peer.name}`, links.encodeVeth(name, peer))
  }

  #addLink(name: string, operation: string, body: Uint8Array): Link {
    this.#socket.request(operation, links.RTM_NEWLINK, CREATE, body)
    return this.link(name)!
  }

  /** False where there was nothing to delete. */
  deleteLink(index: number): boolean {
    const query = links.encodeLinkQuery(index)
    return !!unlessMissing(['ENODEV'], () => this.#socket.request(`delete link ${index}`, links.RTM_DELLINK, 0, query))
  }

  /** Of one interface or all, both families. */
  addresses(index?: number): Address[] {
    return this.#socket
      .dump('list addresses', addresses.RTM_GETADDR, addresses.encodeAddressQuery())
      .map((answer) => addresses.decodeAddress(answer.body))
      .filter((address) => address !== undefined)
      .filter((address) => index === undefined || address.index === index)
  }

  /** `address` with prefix length. EEXIST where the interface has it. */
  addAddress(index: number, address: string): void {
    this.#socket.request(
      `add address ${address} to link ${index}`,
      addresses.RTM_NEWADDR,
      CREATE,
      addresses.encodeAddress(index, address),
    )
  }

  /** False where there was nothing to delete. */
  deleteAddress(index: number, address: string): boolean {
    const body = addresses.encodeAddress(index, address)
    const operation = `delete address ${address} from link ${index}`
    return !!unlessMissing(['EADDRNOTAVAIL', 'ENODEV'], () =>
      this.#socket.request(operation, addresses.RTM_DELADDR, 0, body),
    )
  }

  routes(filter: RouteFilter = {}): Route[] {
    const table = filter.table ?? routes.RT_TABLE_MAIN
    return this.#socket
      .dump('list routes', routes.RTM_GETROUTE, routes.encodeRouteQuery())
      .map((answer) => routes.decodeRoute(answer.body))
      .filter((route) => route !== undefined)
      .filter((route) => table === 'all' || route.table === table)
      .filter((route) => filter.protocol === undefined || route.protocol === filter.protocol)
  }

  /** EEXIST where there is one with this destination and metric. */
  addRoute(route: RouteSpec): void {
    this.#socket.request(`add ${describe(route)}`, routes.RTM_NEWROUTE, CREATE, routes.encodeRoute(route))
  }

  /** In place of the one with this destination and metric, whoever made it. */
  replaceRoute(route: RouteSpec): void {
    this.#socket.request(`replace ${describe(route)}`, routes.RTM_NEWROUTE, REPLACE, routes.encodeRoute(route))
  }

  /** The first that matches; what is left out matches any, but only polder's own unless `protocol` says otherwise. */
  deleteRoute(route: RouteTarget): boolean {
    const body = routes.encodeRouteDeletion(route)
    const remove = () => this.#socket.request(`delete ${describe(route)}`, routes.RTM_DELROUTE, 0, body)
    return !!unlessMissing(['ESRCH', 'ENODEV'], remove)
  }

  /** Which way a packet to this address would go, and from which source. None: ENETUNREACH; a blackhole says EINVAL. */
  routeTo(address: string): RouteAnswer {
    const query = routes.encodeRouteLookup(address)
    const [answer] = this.#socket.request(`find the route to ${address}`, routes.RTM_GETROUTE, 0, query)
    return routes.decodeRouteAnswer(answer!.body)
  }
}

function describe(route: RouteTarget): string {
  const via = route.via === undefined ? '' : ` via ${route.via}`
  return `route ${route.dst}${via}${route.index === undefined ? '' : ` on link ${route.index}`}`
}

function unlessMissing<T>(codes: string[], call: () => T): T | undefined {
  try {
    return call()
  } catch (error) {
    if (error instanceof NetlinkError && codes.includes(error.code)) return undefined
    throw error
  }
}
