/**
 * The composition root: every part of the daemon is constructed here, in the order in which one stands on another, and
 * stopped in the reverse one. The only file that knows them all.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type Api, createApi } from './api/server.ts'
import type { Counters, NodeInfo } from './api/types.ts'
import { NodeAttachments } from './attachments/attachments.ts'
import { FolderStore } from './cluster/folder/folder-store.ts'
import { createCni } from './cni/cni.ts'
import { installConflist } from './cni/conflist.ts'
import { Spool } from './cni/spool.ts'
import type { Config } from './config/config.ts'
import { prepareFolder } from './config/folders.ts'
import { NodeStatusPublisher } from './control/node-status.ts'
import { Peers } from './control/peers.ts'
import { Services } from './control/services.ts'
import type { DirectRoute, OwnNode } from './control/surroundings.ts'
import { chooseUnderlay, openUnderlaySockets, podMtusOf, type Underlay } from './control/underlay.ts'
import type { DataPlane } from './dataplane/dataplane.ts'
import { readBootId } from './files/boot-id.ts'
import type { FdStore } from './handover/fd-store.ts'
import { Gate } from './handover/gate.ts'
import type { Predecessor } from './handover/incoming.ts'
import { lendDescriptors, openFdStore, takeDescriptorsBack } from './handover/open.ts'
import { Outgoing, type Running } from './handover/outgoing.ts'
import { type Called, prepareDataPlane, type Resumed, rememberForResume, type Service } from './handover/resume.ts'
import type { Systemd } from './handover/systemd.ts'
import { helloOf } from './handover/takeover.ts'
import { HOST_DEVICE } from './host/device-name.ts'
import { Host, type HostOptions } from './host/host.ts'
import { openHostDevice, rangesOf } from './host/host-device.ts'
import type { NodePortSpec } from './host/nftables.ts'
import { Ipam } from './ipam/ipam.ts'
import { gatewayOf } from './ipam/range.ts'
import { Netlink } from './netlink/netlink.ts'
import { probeOffloads } from './nic/nic.ts'
import type { Runner, RunnerOptions } from './runner/runner.ts'
import { VERSION } from './version.ts'

export interface Polderd {
  /** Lets go of everything; devices, addresses and running pods stay as they are. */
  stop(): Promise<void>
  /** Resolves when another polderd has taken over, and nothing is left to do here. */
  handedOver: Promise<void>
  /** Whether packets are carried. */
  works(): boolean
}

export interface StartOptions {
  config: Config
  service: Service
  called: Called
  /** Where packets flow already. */
  resumed: Resumed | undefined
  /** Who runs, and is taken over. */
  predecessor: Predecessor | undefined
  log: Logger
}

/** How long a polderd that was taken over stays for open sessions of exec and logs. */
const SESSIONS_PATIENCE_MS = 3_600_000

/** Resolves when the node is ready: packets flow, the API answers, the container runtime finds the plugin. */
export async function startPolderd(options: StartOptions): Promise<Polderd> {
  const { config, service, predecessor, log } = options
  const { systemd } = service
  const startedAt = new Date().toISOString()
  prepareFolder('stateDir', config.stateDir, log)
  prepareFolder('clusterFolder', config.clusterFolder, log)
  // It loads on a processor of its own while we find out what it will work by.
  const dataPlane = options.resumed?.dataPlane ?? prepareDataPlane(config, log)
  const node = await joinCluster(config, log)
  const { own, underlay, store, ipam, peers } = node
  const close = (fd: number): void => dataPlane.discard(fd)
  const lentAt = predecessor?.loan.descriptors
  const fdStore = options.resumed?.fdStore ?? openFdStore({ config, ...service, lentAt, close, log })
  const dataPath = await startDataPath(config, node, fdStore, dataPlane)

  // Pods come and go.
  const attachments = await restorePods(config, node, dataPath, log)
  // What waited in queues since the last polderd finds its pods.
  if (predecessor === undefined) dataPlane.release()
  const spool = new Spool({ folder: `${config.stateDir}/spool`, attachments, log })
  const runner = config.runner ? await loadRunner({ config, own, store, attachments, log }) : undefined

  // The host is as pods need it, and stays so.
  const nodeStatus = new NodeStatusPublisher({ own, underlay, encapsulation: config.encapsulation, store, log })
  const mtuChanged = (): void => tellMtu(own, attachments, peers, nodeStatus)
  const underlayMoved = (to: Underlay): Promise<void> => moveUnderlay(config, to, node, dataPath, nodeStatus)
  const host = await startHost(config, node, dataPath, { mtuChanged, underlayMoved }, log)

  // We can be talked to, and say so.
  const { gateways } = attachments
  const gate = new Gate()
  if (predecessor !== undefined) await gate.close()
  const cni = createCni({ ...config, attachments, spool, addressesLeft: () => ipam.freeCount, log })
  const api = createApi({
    socket: config.socket,
    store,
    attachments,
    info: (): NodeInfo => ({ ...own, version: VERSION, pid: process.pid, startedAt, gateways }),
    counters: () => ({ ...dataPlane.counters(), queues: queuesOf(dataPlane, attachments) }),
    flows: () => dataPlane.flows(),
    findings: () => host.findings(),
    runtimeFor: (pod) => runner?.runtimeFor(pod),
    cni: gate.guard(cni, config.socket),
    takeover: (connection) => outgoing.handOver(connection),
    log,
  })
  const path = { ...node, ...dataPath }
  const parts: Parts = { config, systemd, gate, ...path, attachments, spool, nodeStatus, runner, host, api }
  const { running, handedOver } = handOverOf(parts)
  const outgoing = new Outgoing(running, helloOf(config, systemd?.path), log)
  await api.start(predecessor !== undefined)
  if (predecessor !== undefined) await takeOver(predecessor, parts)
  // Only now: a DEL is spooled where nobody listens, so none can come in between.
  await spool.start()
  await installConflist({ ...config, spool: `${config.stateDir}/spool` })
  await nodeStatus.start()
  if (predecessor === undefined) runner?.start()
  else runner?.resume()
  log.info({ underlay, podCIDRs: own.podCIDRs, socket: config.socket }, 'the node is ready')
  void host.logFindings()
  rememberForResume(options.called, config, node.underlay, dataPath, log)
  return { stop: () => stopAll(parts), handedOver, works: () => dataPlane.works }
}

/** All that runs, once it does. */
interface Parts extends ClusterNode, DataPath {
  config: Config
  systemd: Systemd | undefined
  gate: Gate
  attachments: NodeAttachments
  spool: Spool
  nodeStatus: NodeStatusPublisher
  runner: Runner | undefined
  host: Host
  api: Api
}

async function stopAll({ nodeStatus, runner, api, spool, host, services, peers, ...parts }: Parts): Promise<void> {
  for (const part of [nodeStatus, runner, api, spool, host, services, peers]) await part?.stop()
  await parts.attachments.close()
  parts.fdStore.close()
  await parts.dataPlane.stop()
  await parts.store.close()
}

/** From here on the packets are ours: the last step, which nothing follows that could fail. */
async function takeOver(predecessor: Predecessor, { dataPlane, gate }: Parts): Promise<void> {
  await predecessor.hold()
  dataPlane.release()
  await predecessor.done()
  gate.open()
}

/** What a takeover by another polderd does with all that runs here. */
function handOverOf(parts: Parts): { running: Running; handedOver: Promise<void> } {
  const { config, systemd, gate, own, store, dataPlane, fdStore, attachments, spool, nodeStatus, runner, host, api } =
    parts
  const { promise: handedOver, resolve } = Promise.withResolvers<void>()
  const running: Running = {
    async pause() {
      systemd?.notify('RELOADING=1', 'STATUS=another polderd takes over')
      api.remember()
      await gate.close()
      for (const part of [runner, attachments, host]) await part?.pause()
      await spool.stop()
      nodeStatus.pause()
      store.releaseNode(own.name)
    },
    async resume() {
      api.restore()
      await store.claimNode(own.name)
      await nodeStatus.start()
      await spool.start()
      for (const part of [host, attachments, runner]) await part?.resume()
      gate.open()
      systemd?.notify('READY=1', 'STATUS=a takeover failed: this polderd goes on')
    },
    lend: () => ({
      descriptors: lendDescriptors(config, systemd !== undefined, fdStore),
      watchdogMs: systemd?.watchdogMs ?? null,
    }),
    takeBack: () => takeDescriptorsBack(config.socket, fdStore),
    hold: () => dataPlane.hold(),
    release: () => dataPlane.release(),
    leave: () => void leave(parts).then(resolve, resolve),
  }
  return { running, handedOver }
}

/** Lets go of what the successor has, and stays for those who are still connected. */
async function leave({
  gate,
  api,
  host,
  services,
  peers,
  attachments,
  fdStore,
  dataPlane,
  store,
  runner,
}: Parts): Promise<void> {
  gate.leave()
  const disconnected = api.leave()
  for (const part of [host, services, peers]) await part.stop()
  await attachments.close()
  fdStore.close()
  await dataPlane.stop()
  await Promise.race([disconnected, delay(SESSIONS_PATIENCE_MS)])
  await runner?.stop()
  await store.close()
}

/** Who we are: our address on the underlay, our name in the cluster, our pod ranges; and who the others are. */
async function joinCluster(config: Config, log: Logger): Promise<ClusterNode> {
  using netlink = new Netlink()
  const underlay = chooseUnderlay(netlink, config)
  const store = await FolderStore.open({ ...config, folder: config.clusterFolder, log })
  const { spec } = await store.claimNode(config.nodeName)
  const own: OwnNode = {
    name: config.nodeName,
    podCIDRs: spec.podCIDRs,
    underlayAddress: underlay.address,
    ...podMtusOf(underlay.linkMtuBytes, underlay.family, config.encapsulation),
  }
  const ipam = new Ipam({ ranges: own.podCIDRs, now: steadyNow })
  const peers = new Peers({ own, overlay: config, store, log })
  return { own, underlay, store, ipam, peers, services: new Services({ own, store, log }) }
}

/** The wall clock as it was at the start, going on steadily: somebody may set the real one while polderd runs. */
function steadyNow(): number {
  return performance.timeOrigin + performance.now()
}

interface ClusterNode {
  own: OwnNode
  underlay: Underlay
  store: FolderStore
  ipam: Ipam
  peers: Peers
  services: Services
}

/** Packets flow: between polder0 and the peers; pods join when they are attached. */
async function startDataPath(
  config: Config,
  { own, underlay, ipam, peers, services }: ClusterNode,
  fdStore: FdStore,
  dataPlane: DataPlane,
): Promise<DataPath> {
  using netlink = new Netlink()
  const sockets = openUnderlaySockets(underlay, config.vxlanPort, fdStore)
  const gateways = ipam.ranges.map(gatewayOf)
  const hostFd = openHostDevice(netlink, { mtuBytes: own.mtuBytes, gateways, ranges: rangesOf(config) }, fdStore)
  const offloads = probeOffloads(hostFd)
  const { surroundings } = peers
  await dataPlane.start({ hostFd, ...sockets, surroundings, services: services.current })
  peers.follow((surroundings) => dataPlane.setSurroundings(surroundings))
  services.follow((ports) => dataPlane.setServices(ports))
  return { dataPlane, offloads, fdStore }
}

interface DataPath {
  dataPlane: DataPlane
  offloads: number
  fdStore: FdStore
}

/** Every attachment that an earlier polderd left, on its own device. */
async function restorePods(
  { stateDir }: Config,
  { own, ipam }: ClusterNode,
  { dataPlane: ports, fdStore }: DataPath,
  log: Logger,
): Promise<NodeAttachments> {
  const { mtuBytes } = own
  const attachments = new NodeAttachments({ stateDir, bootId: readBootId(), ipam, ports, fdStore, mtuBytes, log })
  await attachments.restore()
  fdStore.closeLeftovers()
  return attachments
}

function startHost(
  config: Config,
  { own, underlay, store, peers, services }: ClusterNode,
  { dataPlane, offloads, fdStore }: DataPath,
  changes: Pick<HostOptions, 'mtuChanged' | 'underlayMoved'>,
  log: Logger,
): Promise<Host> {
  const directRoutes = (): DirectRoute[] => peers.directRoutes
  const replaceHost = (fd: number): Promise<void> => dataPlane.replaceHost(fd)
  const { virtualAddresses } = services
  const nodePorts = (): NodePortSpec => ({ nodePorts: services.nodePorts, virtualAddresses })
  const given = { config, own, underlay, store, offloads, fdStore, log }
  return Host.start({ ...given, ...changes, directRoutes, nodePorts, replaceHost })
}

/** What the kernel could not keep for the data path. */
function queuesOf(dataPlane: DataPlane, attachments: NodeAttachments): Counters['queues'] {
  using netlink = new Netlink()
  return [
    { name: 'pods', full: attachments.queueDrops() },
    { name: 'polder0', full: netlink.link(HOST_DEVICE)?.statistics.txDropped ?? 0 },
    { name: 'underlay', full: dataPlane.underlayDrops() },
  ]
}

/** Loaded only where it is wanted: gRPC alone takes 40 MB and half a second. */
async function loadRunner(options: RunnerOptions): Promise<Runner> {
  const { createRunner } = await import('./runner/runner.ts')
  return createRunner(options)
}

/** The data path goes by the new address before the others hear of it. */
async function moveUnderlay(
  config: Config,
  to: Underlay,
  { own, underlay, peers }: ClusterNode,
  { dataPlane, fdStore }: DataPath,
  nodeStatus: NodeStatusPublisher,
): Promise<void> {
  await dataPlane.replaceSockets(openUnderlaySockets(to, config.vxlanPort, fdStore))
  Object.assign(underlay, to)
  own.underlayAddress = to.address
  peers.refresh()
  void nodeStatus.beat()
}

/** Pods attached from now on, the data path and the other nodes go by the new MTU. */
function tellMtu(own: OwnNode, attachments: NodeAttachments, peers: Peers, nodeStatus: NodeStatusPublisher): void {
  attachments.mtuBytes = own.mtuBytes
  peers.refresh()
  void nodeStatus.beat()
}
