/**
 * The host as polder keeps it while it runs: what is put back when others take it away (upkeep.ts), what follows when
 * the underlay changes, and what is wrong that polder does not mend (findings/).
 */
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { Finding } from '../api/types.ts'
import type { ClusterStore } from '../cluster/store.ts'
import { parseCidr } from '../config/cidr.ts'
import type { Config } from '../config/config.ts'
import type { Outward } from '../control/outward.ts'
import type { DirectRoute, OwnNode } from '../control/surroundings.ts'
import { movedUnderlay, podMtusOf, type Underlay } from '../control/underlay.ts'
import type { FdStore } from '../handover/fd-store.ts'
import type { Redirect } from '../host-ports/frontends.ts'
import { gatewayOf } from '../ipam/range.ts'
import { Netlink } from '../netlink/netlink.ts'
import type { NetlinkError } from '../netlink/netlink-error.ts'
import { NfTables } from '../netlink/nf-tables.ts'
import { Notices } from '../netlink/notices.ts'
import { HOST_DEVICE } from './device-name.ts'
import { bringDirectRoutes } from './direct-routes.ts'
import { info, warning } from './findings/check.ts'
import { findKubeProxy, rulesetIfAny } from './findings/kube-proxy.ts'
import { underlayAddressOf } from './findings/nodes.ts'
import { offloadsMissing } from './findings/software.ts'
import { findingOf, survey } from './findings/survey.ts'
import { bringForwarding } from './forwarding.ts'
import {
  bringHostDevice,
  bringHostSysctls,
  type HostDeviceSpec,
  hostPrefix,
  openHostDevice,
  rangesOf,
} from './host-device.ts'
import type { Mended } from './mended.ts'
import { NftTable, tableScript } from './nftables.ts'
import { bringReceiveOffload } from './receive-offload.ts'
import { type Duty, Upkeep } from './upkeep.ts'

export interface HostOptions {
  config: Config
  /** Its mtuBytes follows the underlay's. */
  own: OwnNode
  underlay: Underlay
  store: ClusterStore
  /** What the kernel can (probeOffloads). */
  offloads: number
  fdStore: FdStore
  /** Called with the descriptor of the device when that had to be made anew. */
  replaceHost: (fd: number) => Promise<void>
  /** What the host routes to peers without polder0. */
  directRoutes: () => DirectRoute[]
  /** What Services need of the host. */
  outward: () => Outward
  /** The host ports of pods that are sent on. */
  hostPorts: () => readonly Redirect[]
  /** Where what comes to a node port is sent, one for each family. */
  virtualAddresses: readonly string[]
  /** Called when the node's address on the underlay is another; brings `own` and `underlay` to it. */
  underlayMoved: (underlay: Underlay) => Promise<void>
  /** Called after own.mtuBytes has changed. */
  mtuChanged: () => void
  log: Logger
}

/** Beside the one table that decides something: it does nothing, and is there only while polderd runs (see NfTables). */
const HOLD_TABLE = 'polder-hold'
/** The table is there, and another process owns it. */
const OTHERS_CODES = ['EEXIST', 'EPERM']
const LOOK_FOR_KUBE_PROXY_MS = 5000
const LOG_LEVELS = { error: 'error', warning: 'warn', info: 'info' } as const

export class Host {
  readonly #options: HostOptions
  readonly #netlink = new Netlink()
  readonly #nfTables = new NfTables()
  readonly #notices = new Notices()
  readonly #upkeep: Upkeep
  readonly #table: NftTable
  /** The node's own, one a family. */
  readonly #gateways: string[]
  /** What the host should be like, as of the last look. */
  #wanted = ''
  #directRoutes: DirectRoute[] = []
  #addresses: readonly string[] = []
  #natIsHeld: boolean | undefined
  #lookedForKubeProxy: { generation: number; atMs: number } | undefined
  #kubeProxy: string | undefined

  private constructor(options: HostOptions) {
    this.#options = options
    const { config, own } = options
    this.#gateways = own.podCIDRs.map(gatewayOf)
    this.#table = new NftTable(this.#nfTables, () => this.#script())
    const duties: Duty[] = [
      { bring: () => this.#holdNat() },
      { bring: () => this.#followUnderlay() },
      { bring: () => this.#bringDevice(), glance: () => bringHostSysctls(this.#deviceSpec()) },
      { bring: () => this.#bringDirectRoutes() },
      { bring: () => this.#table.bring() },
      { bring: () => this.#watchForKubeProxy(), glance: () => this.#watchForKubeProxy() },
    ]
    const families = config.podCIDRs.map((cidr) => parseCidr(cidr).family)
    const forwarding = (): Mended[] => bringForwarding(families)
    if (config.hostSysctls === 'manage') duties.push({ bring: forwarding, glance: forwarding })
    const { underlay } = options
    if (config.underlayGro === 'manage') duties.push({ bring: () => bringReceiveOffload(underlay.interface) })
    this.#upkeep = new Upkeep(duties, () => this.#hasChanged(), options.log)
  }

  /** Resolves once pods can reach the world, or the log says why not. */
  static async start(options: HostOptions): Promise<Host> {
    const host = new Host(options)
    await host.#upkeep.start()
    return host
  }

  /** Resolves once the nftables table is as it should be now; rejects where the host refuses it. */
  async bringTable(): Promise<void> {
    await this.#table.bring()
  }

  /** Everything that is wrong now. */
  async findings(): Promise<Finding[]> {
    const { config, underlay, store, offloads } = this.#options
    const nodes = store.list('Node')
    const found = await survey({ config, netlink: this.#netlink, underlay, nodes })
    for (const failure of this.#upkeep.failures()) {
      const finding = findingOf(failure)
      if (!found.some(({ id, message }) => id === finding.id && message === finding.message)) found.push(finding)
    }
    return [...found, ...this.#storeProblems(), ...offloadsMissing(offloads), ...this.#mended()]
  }

  /** Says in the log what is wrong, with the remedies. */
  async logFindings(): Promise<void> {
    const { log } = this.#options
    try {
      for (const { id, severity, message, remedy } of await this.findings()) {
        log[LOG_LEVELS[severity]]({ finding: id, remedy }, message)
      }
    } catch (error) {
      log.error({ err: error }, 'the host could not be looked over')
    }
  }

  /** Until resume() nothing is put back. */
  pause(): Promise<void> {
    return this.#upkeep.stop()
  }

  resume(): Promise<void> {
    return this.#upkeep.start()
  }

  async stop(): Promise<void> {
    await this.#upkeep.stop()
    for (const socket of [this.#netlink, this.#nfTables, this.#notices]) socket.close()
  }

  /**
   * So that a connection outlives the moment in which others have taken the table away. A polderd that is being taken over
   * holds the table of this name until it ends.
   */
  #holdNat(): [] {
    if (this.#natIsHeld !== undefined) return []
    try {
      this.#nfTables.holdNat(HOLD_TABLE)
      this.#natIsHeld = true
    } catch (error) {
      if (OTHERS_CODES.includes((error as NetlinkError).code)) return []
      this.#natIsHeld = false
      this.#options.log.info({ err: error }, 'connections into the world will break where others flush nftables')
    }
    return []
  }

  /** The host, by what the kernel says; or what it should be. */
  #hasChanged(): boolean {
    const { directRoutes, outward } = this.#options
    const wanted = `${this.#script()}${JSON.stringify([directRoutes(), outward().addresses])}`
    const isOther = wanted !== this.#wanted
    this.#wanted = wanted
    return this.#notices.taken() || isOther
  }

  #script(): string {
    const { config, own, store, outward, hostPorts, virtualAddresses } = this.#options
    const { nodePorts, externals } = outward()
    const others = store.list('Node').flatMap((node) => underlayAddressOf(node) ?? [])
    return tableScript({
      podCIDRs: config.podCIDRs,
      ownRanges: own.podCIDRs,
      nodeAddresses: [...new Set([own.underlayAddress, ...others])],
      device: HOST_DEVICE,
      vxlanPort: config.vxlanPort,
      virtualAddresses,
      nodePorts,
      externals,
      hostPorts: hostPorts(),
    })
  }

  #deviceSpec(): HostDeviceSpec {
    const { config, own, outward } = this.#options
    return { mtuBytes: own.mtuBytes, gateways: this.#gateways, ranges: rangesOf(config, outward().addresses) }
  }

  async #bringDevice(): Promise<Mended[]> {
    const { fdStore, replaceHost, outward } = this.#options
    const spec = this.#deviceSpec()
    if (this.#netlink.link(HOST_DEVICE) !== undefined) {
      // Services that came or went are nothing that somebody took away.
      const { addresses } = outward()
      const before = this.#addresses
      this.#addresses = addresses
      const news = [...addresses, ...before].filter((one) => !addresses.includes(one) || !before.includes(one))
      const newPrefixes = news.map(hostPrefix)
      const mended = bringHostDevice(this.#netlink, spec)
      return mended.filter(({ kind, what }) => kind !== 'route' || !newPrefixes.includes(what.split(' ')[0]!))
    }
    await replaceHost(openHostDevice(this.#netlink, spec, fdStore))
    return [{ kind: 'link', what: `${HOST_DEVICE}, made anew` }]
  }

  #bringDirectRoutes(): Mended[] {
    const { underlay, directRoutes, log } = this.#options
    const wanted = directRoutes()
    const mended = bringDirectRoutes(this.#netlink, underlay.interface, this.#gateways, wanted)
    if (isDeepStrictEqual(wanted, this.#directRoutes)) return mended
    // Nobody took anything away: the peers are others now.
    this.#directRoutes = wanted
    for (const { what } of mended) log.info(`direct routes have changed: ${what}`)
    return []
  }

  /** An interface that is gone leaves the MTU as it was; the findings say that it is gone. */
  async #followUnderlay(): Promise<[]> {
    const { config, own, underlay, log, mtuChanged, underlayMoved } = this.#options
    const moved = movedUnderlay(this.#netlink, underlay, config)
    if (moved !== undefined) {
      log.info(
        { interface: moved.interface, from: underlay.address, to: moved.address },
        'the underlay address has moved',
      )
      await underlayMoved(moved)
    }
    const link = this.#netlink.link(underlay.interface)
    if (link === undefined) return []
    const mtus = podMtusOf(link.mtuBytes, underlay.family, config.encapsulation)
    if (mtus.mtuBytes === own.mtuBytes && mtus.tunnelMtuBytes === own.tunnelMtuBytes) return []
    log.info({ interface: link.name, underlayMtuBytes: link.mtuBytes, ...mtus }, 'the MTU of the underlay has changed')
    Object.assign(own, mtus)
    await this.#bringDevice()
    mtuChanged()
    return []
  }

  /** Who comes later is said in the log; looked for where rules have changed since, now and then. */
  async #watchForKubeProxy(): Promise<[]> {
    const generation = this.#nfTables.generation()
    const last = this.#lookedForKubeProxy
    if (last?.generation === generation || performance.now() - (last?.atMs ?? -Infinity) < LOOK_FOR_KUBE_PROXY_MS)
      return []
    this.#lookedForKubeProxy = { generation, atMs: performance.now() }
    const { config, log } = this.#options
    const found = findKubeProxy({ config, netlink: this.#netlink, ruleset: await rulesetIfAny() })
    if (found !== undefined && found.message !== this.#kubeProxy) {
      log.error({ finding: 'kube-proxy', remedy: found.remedy }, found.message)
    }
    this.#kubeProxy = found?.message
    return []
  }

  #storeProblems(): Finding[] {
    return this.#options.store
      .problems()
      .map(({ place, message }) => warning('store-problem', `${place}: ${message}`, 'Correct the file.'))
  }

  /** Somebody on this machine works against polder, and polder against him. */
  #mended(): Finding[] {
    return this.#upkeep
      .counts()
      .map(({ kind, times, lastTime }) =>
        info(
          'put-back',
          `${kind} of polder: put back ${times} ${times === 1 ? 'time' : 'times'} since polderd started, last at ${lastTime}`,
          "Find out who takes it away (systemd-networkd does, unless ManageForeignRoutes=no); polderd's log says what it was.",
        ),
      )
  }
}
