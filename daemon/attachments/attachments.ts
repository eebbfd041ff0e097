/**
 * Every attachment of this node: makes, removes, checks them, and finds them again after a restart.
 *
 *   add      netns open -> addresses, host ports -> record on disk -> device -> host ports -> data path
 *   remove   host ports -> data path -> device -> netns closed -> addresses rest, record released
 *   restore  record -> netns open -> device attached again -> data path
 *
 * A failure of add undoes in reverse; remove may stop anywhere, and be repeated.
 *
 * Calls about one attachment take turns; those about different ones do not wait for each other. Work in a namespace is
 * synchronous, some tenths of a millisecond (device.ts); awaited are the data path and the removal of a device.
 *
 * A namespace that vanished without a remove (`ctr run -d --cni` never deletes, a crashed runtime may forget) would keep
 * its addresses: every half minute, what has no namespace any more is removed. So is what a full or read-only disk kept
 * from being removed.
 */
import { closeSync } from 'node:fs'
import type { Logger } from 'pino'
import type { PodPorts } from '../dataplane/pod-ports.ts'
import { PolderError } from '../errors.ts'
import type { FdStore } from '../handover/fd-store.ts'
import type { HostPorts } from '../host-ports/host-ports.ts'
import { isSame, nameOfPort } from '../host-ports/port-mapping.ts'
import { gatewayOf, type Ipam } from '../ipam/ipam.ts'
import { Netlink } from '../netlink/netlink.ts'
import { closeFd, isTun } from '../nic/nic.ts'
import type { Attachment, Attachments, AttachRequest, ExpectedAttachment } from './attachment.ts'
import { adoptDevice, createDevice, type DeviceSpec, deleteDevice, inspectDevice } from './device.ts'
import { leadsTo, openNetns } from './netns.ts'
import { AttachmentRecords, type LoadedRecords } from './records.ts'

export interface NodeAttachmentsOptions {
  stateDir: string
  /** See files/boot-id.ts. */
  bootId: string
  /** Fresh: restore() fills it from the records. */
  ipam: Ipam
  ports: PodPorts
  /** Fresh: the constructor fills it from the records, so that the data path begins with them. */
  hostPorts: HostPorts
  /** Where the devices' descriptors outlive polderd. */
  fdStore: FdStore
  mtuBytes: number
  log: Logger
}

const SWEEP_INTERVAL_MS = 30_000
const NOTHING_LOADED: LoadedRecords = { attachments: [], resting: [], heldBack: [] }

interface Live {
  attachment: Attachment
  netnsFd: number
  /** Absent once the data path has forgotten it, or where it could not be attached again. */
  port?: number
}

export class NodeAttachments implements Attachments {
  readonly gateways: string[]
  /** Of devices made from now on. */
  mtuBytes: number
  readonly #bootId: string
  readonly #ipam: Ipam
  readonly #ports: PodPorts
  readonly #hostPorts: HostPorts
  readonly #fdStore: FdStore
  readonly #log: Logger
  readonly #records: AttachmentRecords
  readonly #live = new Map<string, Live>()
  /** The last call about each attachment that has one under way. */
  readonly #turns = new Map<string, Promise<unknown>>()
  /** Of those that are gone, while their record is not: how to try that again. */
  readonly #leftOver = new Map<string, () => void>()
  /** What an earlier polderd left, until restore(). */
  #loaded: LoadedRecords
  #ready = false
  #sweeper: NodeJS.Timeout | undefined

  constructor({ stateDir, bootId, ipam, ports, hostPorts, fdStore, mtuBytes, log }: NodeAttachmentsOptions) {
    this.gateways = ipam.ranges.map(gatewayOf)
    this.mtuBytes = mtuBytes
    this.#bootId = bootId
    this.#ipam = ipam
    this.#ports = ports
    this.#hostPorts = hostPorts
    this.#fdStore = fdStore
    this.#log = log
    this.#records = new AttachmentRecords(stateDir, bootId, log)
    this.#loaded = this.#records.load()
    for (const attachment of this.#loaded.attachments) hostPorts.restore(attachment)
  }

  /** Finds again what an earlier polderd made. Once, before anything else; until then `add` answers `not-ready`. */
  async restore(): Promise<void> {
    const { attachments, resting, heldBack } = this.#loaded
    this.#loaded = NOTHING_LOADED
    for (const { addresses, releasedAtMs } of resting) this.#ipam.rest(addresses, releasedAtMs)
    this.#ipam.reserve(heldBack)
    for (const { addresses } of attachments) this.#ipam.reserve(addresses)
    await Promise.all(attachments.map((attachment) => this.#inTurn(attachment, () => this.#restore(attachment))))
    // Of those that could not be had back.
    await this.#hostPorts.retract()
    this.#ready = true
    this.resume()
  }

  /** Begins nothing by itself until resume(); resolves when what was under way is done. */
  async pause(): Promise<void> {
    clearInterval(this.#sweeper)
    await Promise.all(this.#turns.values())
  }

  resume(): void {
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP_INTERVAL_MS).unref()
  }

  /** Removes what has no namespace any more. Resolves when that is done; what fails is tried again the next time. */
  async releaseVanished(): Promise<void> {
    await Promise.all(this.list().map((names) => this.#inTurn(names, () => this.#removeIfVanished(names))))
  }

  add(request: AttachRequest): Promise<Attachment> {
    return this.#inTurn(request, () => this.#add(request))
  }

  remove(containerId: string, ifName: string): Promise<void> {
    const names = { containerId, ifName }
    return this.#inTurn(names, () => this.#remove(names))
  }

  check(containerId: string, ifName: string, expected?: ExpectedAttachment): Promise<Attachment> {
    const names = { containerId, ifName }
    return this.#inTurn(names, () => this.#check(names, expected))
  }

  get(containerId: string, ifName: string): Attachment | undefined {
    return this.#live.get(keyOf({ containerId, ifName }))?.attachment
  }

  list(): Attachment[] {
    return Array.from(this.#live.values(), (live) => live.attachment)
  }

  /** Packets of pods that found their device's queue full, since the devices of those that are there were made. */
  queueDrops(): number {
    let drops = 0
    for (const { attachment, netnsFd } of this.#live.values()) {
      using netlink = new Netlink(netnsFd)
      drops += netlink.link(attachment.ifName)?.statistics.txDropped ?? 0
    }
    return drops
  }

  /** Lets go of the namespaces; every attachment stays as it is, for the next polderd. */
  async close(): Promise<void> {
    this.#ready = false
    clearInterval(this.#sweeper)
    await Promise.all(this.#turns.values())
    for (const { netnsFd } of this.#live.values()) closeSync(netnsFd)
    this.#live.clear()
  }

  async #add(request: AttachRequest): Promise<Attachment> {
    if (!this.#ready) {
      throw new PolderError('not-ready', 'polderd is starting or stopping', 'try again in a moment')
    }
    const key = keyOf(request)
    if (this.#live.has(key)) {
      throw new PolderError(
        'exists',
        `container ${request.containerId} is already attached as ${request.ifName}`,
        'delete that attachment first (CNI DEL), or ask for another interface name',
      )
    }
    await using undo = new AsyncDisposableStack()
    const netnsFd = openNetns(request.netns)
    undo.defer(() => closeSync(netnsFd))
    const { wantedAddresses, wantedHostPorts = [], ...names } = request
    const attachment: Attachment = {
      ...names,
      addresses: this.#ipam.allocate(wantedAddresses),
      createdAt: new Date().toISOString(),
      bootId: this.#bootId,
    }
    undo.defer(() => this.#forget(attachment, () => this.#records.remove(attachment)))
    const hostPorts = this.#hostPorts.reserve(attachment, wantedHostPorts)
    if (hostPorts.length > 0) attachment.hostPorts = hostPorts
    undo.defer(() => this.#retract(attachment))
    this.#forgetLeftOver()
    // Before the device: a polderd killed from here on leaves nothing that the next one does not know.
    this.#records.write(attachment)
    const fd = await inWords(attachment, () => createDevice(netnsFd, this.#specOf(attachment)))
    undo.defer(() => deleteDevice(netnsFd, attachment.ifName))
    undo.defer(() => closeFd(fd))
    this.#fdStore.put(descriptorOf(attachment), fd)
    undo.defer(() => this.#fdStore.remove(descriptorOf(attachment)))
    if (hostPorts.length > 0) await this.#hostPorts.publish()
    const port = await this.#ports.addPod(fd, attachment.addresses)
    undo.move()
    this.#live.set(key, { attachment, netnsFd, port })
    return attachment
  }

  async #remove(names: { containerId: string; ifName: string }): Promise<void> {
    const key = keyOf(names)
    const live = this.#live.get(key)
    if (live === undefined) return
    await this.#retract(names)
    if (live.port !== undefined) {
      this.#fdStore.remove(descriptorOf(names))
      await this.#ports.removePod(live.port)
      delete live.port
    }
    await inWords(live.attachment, () => deleteDevice(live.netnsFd, names.ifName))
    closeSync(live.netnsFd)
    this.#live.delete(key)
    this.#release(live.attachment)
  }

  async #removeIfVanished(names: { containerId: string; ifName: string }): Promise<void> {
    const live = this.#live.get(keyOf(names))
    if (live === undefined || leadsTo(live.attachment.netns, live.netnsFd)) return
    const { containerId, ifName, netns } = live.attachment
    try {
      await this.#remove(names)
      this.#log.info({ containerId, ifName, netns }, 'the namespace of an attachment is gone: attachment released')
    } catch (error) {
      this.#log.error({ containerId, ifName, error }, 'an attachment without its namespace could not be removed')
    }
  }

  /** Its host ports are nobody's any more. */
  async #retract(names: { containerId: string; ifName: string }): Promise<void> {
    if (this.#hostPorts.release(names)) await this.#hostPorts.retract()
  }

  async #check(names: { containerId: string; ifName: string }, expected?: ExpectedAttachment): Promise<Attachment> {
    const live = this.#live.get(keyOf(names))
    if (live === undefined) throw checkFailed(names, ['polderd has no record of it'])
    const { attachment, netnsFd, port } = live
    const faults = inspectDevice(netnsFd, this.#specOf(attachment), expected)
    const path = expected?.netns ?? attachment.netns
    if (!leadsTo(path, netnsFd)) faults.unshift(`${path} does not lead to its namespace`)
    if (port === undefined) faults.unshift('the data path does not hold its device')
    faults.push(...(await this.#hostPortFaults(attachment, expected)))
    if (faults.length > 0) throw checkFailed(names, faults)
    return attachment
  }

  async #hostPortFaults({ hostPorts = [] }: Attachment, expected?: ExpectedAttachment): Promise<string[]> {
    const missing = (expected?.hostPorts ?? []).filter((one) => !hostPorts.some((other) => isSame(one, other)))
    const faults = missing.map((one) => `host port ${nameOfPort(one)} does not lead to ${one.containerPort} of the pod`)
    try {
      if (hostPorts.length > 0) await this.#hostPorts.publish()
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error))
    }
    return faults
  }

  /** Never fails: one attachment that cannot be had back must not keep polderd from the others. */
  async #restore(attachment: Attachment): Promise<void> {
    const { containerId, ifName, netns } = attachment
    let netnsFd: number
    try {
      netnsFd = openNetns(netns)
    } catch {
      this.#log.info({ containerId, ifName, netns }, 'the namespace of an attachment is gone: attachment released')
      return this.#release(attachment)
    }
    const live: Live = { attachment, netnsFd }
    try {
      const kept = this.#fdStore.claim(descriptorOf(attachment), (fd) => isTun(fd, netnsFd, ifName))
      const fd = adoptDevice(netnsFd, this.#specOf(attachment), kept)
      if (fd === undefined) {
        this.#log.info({ containerId, ifName, netns }, 'the device of an attachment is gone: attachment released')
        closeSync(netnsFd)
        return this.#release(attachment)
      }
      if (kept === undefined) this.#fdStore.put(descriptorOf(attachment), fd)
      live.port = await this.#ports.addPod(fd, attachment.addresses)
    } catch (error) {
      this.#fdStore.discard(descriptorOf(attachment))
      this.#log.error({ containerId, ifName, netns, error }, 'an attachment could not be had back: recreate its pod')
    }
    this.#live.set(keyOf(attachment), live)
  }

  #release(attachment: Attachment): void {
    this.#hostPorts.release(attachment)
    const nowMs = Date.now()
    this.#forget(attachment, () => this.#records.release(attachment, nowMs))
  }

  /** While the disk refuses to let go of a record, its addresses stay taken: the next polderd would go by it. */
  #forget(attachment: Attachment, work: () => void): void {
    const { containerId, ifName } = attachment
    const forget = (): void => {
      work()
      this.#leftOver.delete(keyOf(attachment))
      this.#ipam.release(attachment.addresses)
    }
    try {
      forget()
    } catch (error) {
      this.#leftOver.set(keyOf(attachment), forget)
      const message = 'the record of an attachment that is gone stays for now, and its addresses stay taken'
      this.#log.error({ containerId, ifName, err: error }, message)
    }
  }

  /** Throws what the disk says where it still refuses: then nothing can be attached either. */
  #forgetLeftOver(): void {
    for (const forget of this.#leftOver.values()) forget()
  }

  async #sweep(): Promise<void> {
    await this.releaseVanished()
    try {
      this.#forgetLeftOver()
      await this.#records.sweep()
    } catch (error) {
      this.#log.warn({ err: error }, 'records of attachments that are gone cannot be cleared away for now')
    }
  }

  #specOf({ ifName, addresses }: Attachment): DeviceSpec {
    return { ifName, addresses, gateways: this.gateways, mtuBytes: this.mtuBytes }
  }

  /** Runs `work` after every earlier call about the same attachment has ended, well or badly. */
  #inTurn<T>(names: { containerId: string; ifName: string }, work: () => Promise<T>): Promise<T> {
    const key = keyOf(names)
    const result = (this.#turns.get(key) ?? Promise.resolve()).then(work)
    const ended = result.then(
      () => undefined,
      () => undefined,
    )
    this.#turns.set(key, ended)
    void ended.then(() => {
      if (this.#turns.get(key) === ended) this.#turns.delete(key)
    })
    return result
  }
}

function keyOf({ containerId, ifName }: { containerId: string; ifName: string }): string {
  return `${containerId}@${ifName}`
}

/** What the device's descriptor is kept by. */
function descriptorOf(names: { containerId: string; ifName: string }): string {
  return `pod ${keyOf(names)}`
}

function checkFailed({ containerId, ifName }: { containerId: string; ifName: string }, faults: string[]): PolderError {
  return new PolderError(
    'check-failed',
    `attachment ${ifName} of container ${containerId}: ${faults.join('; ')}`,
    'recreate the pod, or restart polderd, which puts back addresses and routes',
  )
}

/** What the kernel refuses, as an error that names the attachment. */
async function inWords<T>({ ifName, netns }: Attachment, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof PolderError) throw error
    throw new PolderError(
      'device-failed',
      `interface ${ifName} in ${netns}: ${error instanceof Error ? error.message : String(error)}`,
      'see whether /dev/net/tun is there, and whether the namespace forbids IPv6 (net.ipv6.conf.all.disable_ipv6)',
    )
  }
}
