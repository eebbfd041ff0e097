/**
 * The composition root: every part of the daemon is constructed here, in the order in which one stands on another. How
 * they end is in parts.ts. Only these two files know them all.
 */
import type { Logger } from 'pino'
import { type Api, type ApiOptions, createApi } from './api/server.ts'
import type { Counters, NodeInfo } from './api/types.ts'
import { NodeAttachments } from './attachments/attachments.ts'
import { Announcer } from './balancer/announcer.ts'
import type { BalancedAddress } from './balancer/choice.ts'
import { HealthChecks } from './balancer/health-checks.ts'
import { FolderStore } from './cluster/folder/folder-store.ts'
import { createCni } from './cni/cni.ts'
import { installConflist } from './cni/conflist.ts'
import { Spool } from './cni/spool.ts'
import type { Config } from './config/config.ts'
import { prepareFolder } from './config/folders.ts'
import { NodeStatusPublisher } from './control/node-status.ts'
import type { Outward } from './control/outward.ts'
import { Peers } from './control/peers.ts'
import { nodePortOwner } from './control/service-ports.ts'
import { Services } from './control/services.ts'
import type { DirectRoute, OwnNode } from './control/surroundings.ts'
import { chooseUnderlay, openUnderlaySockets, podMtusOf, type Underlay } from './control/underlay.ts'
import type { DataPlane } from './dataplane/dataplane.ts'
import { readBootId } from './files/boot-id.ts'
import type { FdStore } from './handover/fd-store.ts'
import { Gate } from './handover/gate.ts'
import type { Predecessor } from './handover/incoming.ts'
import { openFdStore } from './handover/open.ts'
import { Outgoing } from './handover/outgoing.ts'
import { type Called, prepareDataPlane, type Resumed, rememberForResume, type Service } from './handover/resume.ts'
import { helloOf } from './handover/takeover.ts'
import { HOST_DEVICE } from './host/device-name.ts'
import { refuseKubeProxy } from './host/findings/kube-proxy.ts'
import { Host, type HostOptions } from './host/host.ts'
import { openHostDevice, rangesOf } from './host/host-device.ts'
import type { Redirect } from './host-ports/frontends.ts'
import { HostPorts } from './host-ports/host-ports.ts'
import { Ipam } from './ipam/ipam.ts'
import { gatewayOf } from './ipam/range.ts'
import { Netlink } from './netlink/netlink.ts'
import { probeOffloads } from './nic/nic.ts'
import { type ClusterNode, type DataPath, handOverOf, type Inner, type Parts, stopAll, takeOver } from './parts.ts'
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

/** Resolves when the node is ready: packets flow, the API answers, the container runtime finds the plugin. */
export async function startPolderd(options: StartOptions): Promise<Polderd> {
  const { config, service, predecessor, log } = options
  const { systemd } = service
  const startedAt = new Date().toISOString()
  if (options.resumed === undefined && predecessor === undefined) await lookForKubeProxy(config)
  prepareFolder('stateDir', config.stateDir, log)
  prepareFolder('clusterFolder', config.clusterFolder, log)
  // It loads on a processor of its own while we find out what it will work by.
  const dataPlane = options.resumed?.dataPlane ?? prepareDataPlane(config, log)
  const node = await joinCluster(config, log)
  const { own, underlay, store, peers } = node
  const close = (fd: number): void => dataPlane.discard(fd)
  const lentAt = predecessor?.loan.descriptors
  const fdStore = options.resumed?.fdStore ?? openFdStore({ config, ...service, lentAt, close, log })
  // The data path begins with the host ports that the records name.
  const attachments = openAttachments(config, node, { dataPlane, fdStore }, log)
  const dataPath = await startDataPath(config, node, fdStore, dataPlane)

  // Pods come and go.
  await attachments.restore()
  fdStore.closeLeftovers()
  // What waited in queues since the last polderd finds its pods.
  if (predecessor === undefined) dataPlane.release()
  const spool = new Spool({ folder: `${config.stateDir}/spool`, attachments, log })
  const runner = config.runner ? await loadRunner({ config, own, store, attachments, log }) : undefined

  // The host is as pods need it, and stays so.
  const nodeStatus = new NodeStatusPublisher({ own, underlay, encapsulation: config.encapsulation, store, log })
  const mtuChanged = (): void => tellMtu(own, attachments, peers, nodeStatus)
  const underlayMoved = (to: Underlay): Promise<void> => moveUnderlay(config, to, node, dataPath, nodeStatus)
  const host = await startHost(config, node, dataPath, { mtuChanged, underlayMoved }, log)
  const { hostPorts, services } = node
  hostPorts.follow({ carry: () => services.followHostPorts(), sendOn: () => host.bringTable() })

  // We can be talked to, and say so.
  const gate = new Gate()
  if (predecessor !== undefined) await gate.close()
  const outside = openOutside(node, dataPlane, log)
  const inner = {
    config,
    systemd,
    gate,
    ...node,
    ...dataPath,
    ...outside,
    attachments,
    spool,
    nodeStatus,
    runner,
    host,
  }
  const api = openApi(inner, startedAt, (connection) => outgoing.handOver(connection), log)
  const parts: Parts = { ...inner, api }
  const { running, handedOver } = handOverOf(parts)
  const outgoing = new Outgoing(running, helloOf(config, systemd?.path), log)
  await api.start(predecessor !== undefined)
  if (predecessor !== undefined) await takeOver(predecessor, parts)
  outside.announcer.start()
  outside.healthChecks.start()
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

async function lookForKubeProxy(config: Config): Promise<void> {
  using netlink = new Netlink()
  await refuseKubeProxy(config, netlink)
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
  const hostPorts = new HostPorts({ nodePortOwner: (mapping) => nodePortOwner(store.list('Service'), mapping) })
  const services = new Services({ own, store, hostPorts, serves: config.services === 'on', log })
  return { own, underlay, store, ipam, peers, hostPorts, services }
}

/** The wall clock as it was at the start, going on steadily: somebody may set the real one while polderd runs. */
function steadyNow(): number {
  return performance.timeOrigin + performance.now()
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
  const ranges = rangesOf(config, services.outward.addresses)
  const hostFd = openHostDevice(netlink, { mtuBytes: own.mtuBytes, gateways, ranges }, fdStore)
  const offloads = probeOffloads(hostFd)
  const { surroundings } = peers
  await dataPlane.start({ hostFd, ...sockets, surroundings, services: services.current })
  peers.follow((surroundings) => dataPlane.setSurroundings(surroundings))
  services.follow((ports) => dataPlane.setServices(ports))
  return { dataPlane, offloads, fdStore }
}

/** With what the records of an earlier polderd say. */
function openAttachments(
  { stateDir }: Config,
  { own, ipam, hostPorts, services }: ClusterNode,
  { dataPlane: ports, fdStore }: Pick<DataPath, 'dataPlane' | 'fdStore'>,
  log: Logger,
): NodeAttachments {
  const { mtuBytes } = own
  const bootId = readBootId()
  const attachments = new NodeAttachments({ stateDir, bootId, ipam, ports, hostPorts, fdStore, mtuBytes, log })
  void services.followHostPorts()
  hostPorts.follow({ carry: () => services.followHostPorts(), sendOn: async () => {} })
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
  const outward = (): Outward => services.outward
  const hostPorts = (): readonly Redirect[] => services.redirects
  const given = { config, own, underlay, store, offloads, fdStore, log }
  return Host.start({ ...given, ...changes, directRoutes, outward, hostPorts, virtualAddresses, replaceHost })
}

/** What this node says of Services to those beyond the cluster. */
function openOutside(
  { own, underlay, store, services }: ClusterNode,
  dataPlane: DataPlane,
  log: Logger,
): Pick<Inner, 'announcer' | 'healthChecks'> {
  const works = (): boolean => dataPlane.works
  const wanted = (): readonly BalancedAddress[] => services.outward.balanced
  const announcer = new Announcer({ node: own.name, leases: store.leasesOf(own.name), underlay, wanted, works, log })
  return { announcer, healthChecks: new HealthChecks({ wanted: () => services.outward.healthChecks, works, log }) }
}

/** What polderd answers, and to whom it hands over. */
function openApi(inner: Inner, startedAt: string, takeover: ApiOptions['takeover'], log: Logger): Api {
  const { config, gate, own, ipam, store, attachments, spool, host, runner, dataPlane } = inner
  const { gateways } = attachments
  const cni = createCni({ ...config, attachments, spool, addressesLeft: () => ipam.freeCount, log })
  return createApi({
    socket: config.socket,
    store,
    attachments,
    info: (): NodeInfo => ({ ...own, version: VERSION, pid: process.pid, startedAt, gateways }),
    counters: () => ({ ...dataPlane.counters(), queues: queuesOf(dataPlane, attachments) }),
    flows: () => dataPlane.flows(),
    findings: () => host.findings(),
    runtimeFor: (pod) => runner?.runtimeFor(pod),
    cni: gate.guard(cni, config.socket),
    takeover,
    log,
  })
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
