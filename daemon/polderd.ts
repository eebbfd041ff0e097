/**
 * The composition root: every part of the daemon is constructed here, in the order in which one stands on another, and
 * stopped in the reverse one. The only file that knows them all.
 */
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import { createApi } from './api/server.ts'
import type { NodeInfo } from './api/types.ts'
import { NodeAttachments } from './attachments/attachments.ts'
import { readBootId } from './attachments/records.ts'
import { FolderStore } from './cluster/folder/folder-store.ts'
import { createCni } from './cni/cni.ts'
import { installConflist } from './cni/conflist.ts'
import { Spool } from './cni/spool.ts'
import type { Config } from './config/config.ts'
import { prepareFolder } from './config/folders.ts'
import { NodeStatusPublisher } from './control/node-status.ts'
import { Peers } from './control/peers.ts'
import type { DirectRoute, OwnNode } from './control/surroundings.ts'
import { chooseUnderlay, openUnderlaySockets, podMtusOf, type Underlay } from './control/underlay.ts'
import { DataPlane } from './dataplane/dataplane.ts'
import type { FdStore } from './handover/fd-store.ts'
import { openFdStore } from './handover/open.ts'
import { passedDescriptors, Systemd } from './handover/systemd.ts'
import { Host, type HostOptions } from './host/host.ts'
import { openHostDevice } from './host/host-device.ts'
import { Ipam } from './ipam/ipam.ts'
import { gatewayOf } from './ipam/range.ts'
import { Netlink } from './netlink/netlink.ts'
import { probeOffloads } from './nic/nic.ts'
import type { Runner, RunnerOptions } from './runner/runner.ts'
import { VERSION } from './version.ts'

export interface Polderd {
  /** Lets go of everything; devices, addresses and running pods stay as they are. */
  stop(): Promise<void>
}

/** Resolves when the node is ready: packets flow, the API answers, the container runtime finds the plugin. */
export async function startPolderd(config: Config, log: Logger): Promise<Polderd> {
  const startedAt = new Date().toISOString()
  prepareFolder('stateDir', config.stateDir, log)
  prepareFolder('clusterFolder', config.clusterFolder, log)
  // It loads on a processor of its own while we find out what it will work by.
  const dataPlane = prepareDataPlane(config, log)
  const node = await joinCluster(config, log)
  const { own, underlay, store, ipam, peers } = node
  const systemd = Systemd.from(process.env)
  const fdStore = openFdStore(config, systemd, passedDescriptors(process.env), log)
  const dataPath = await startDataPath(config, node, fdStore, dataPlane)

  // Pods come and go.
  const attachments = await restorePods(config, node, dataPath, log)
  // What waited in queues since the last polderd finds its pods.
  dataPlane.release()
  const spool = new Spool({ folder: `${config.stateDir}/spool`, attachments, log })
  const runner = config.runner ? await loadRunner({ config, own, store, attachments, log }) : undefined

  // The host is as pods need it, and stays so.
  const nodeStatus = new NodeStatusPublisher({ own, underlay, encapsulation: config.encapsulation, store, log })
  const mtuChanged = (): void => tellMtu(own, attachments, peers, nodeStatus)
  const underlayMoved = (to: Underlay): Promise<void> => moveUnderlay(config, to, node, dataPath, nodeStatus)
  const host = await startHost(config, node, dataPath, { mtuChanged, underlayMoved }, log)

  // We can be talked to, and say so.
  const { gateways } = attachments
  const api = createApi({
    socket: config.socket,
    store,
    attachments,
    info: (): NodeInfo => ({ ...own, version: VERSION, pid: process.pid, startedAt, gateways }),
    counters: () => dataPlane.counters(),
    flows: () => dataPlane.flows(),
    findings: () => host.findings(),
    runtimeFor: (pod) => runner?.runtimeFor(pod),
    cni: createCni({ ...config, attachments, spool, addressesLeft: () => ipam.freeCount, log }),
    log,
  })
  await api.start()
  // Only now: a DEL is spooled where nobody listens, so none can come in between.
  await spool.start()
  await installConflist({ ...config, spool: `${config.stateDir}/spool` })
  await nodeStatus.start()
  runner?.start()
  log.info({ underlay, podCIDRs: own.podCIDRs, socket: config.socket }, 'the node is ready')
  void host.logFindings()

  return {
    async stop() {
      for (const part of [nodeStatus, runner, api, spool, host, peers]) await part?.stop()
      await attachments.close()
      fdStore.close()
      await dataPlane.stop()
      await store.close()
    },
  }
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
  return { own, underlay, store, ipam, peers: new Peers({ own, overlay: config, store, log }) }
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
}

function prepareDataPlane(config: Config, log: Logger): DataPlane {
  const flows = { path: `${dirname(config.socket)}/flows`, capacity: config.maxFlows, bootId: readBootId(), log }
  return new DataPlane({ poisonFolder: `${config.stateDir}/poison`, flows, log })
}

/** Packets flow: between polder0 and the peers; pods join when they are attached. */
async function startDataPath(
  config: Config,
  { own, underlay, ipam, peers }: ClusterNode,
  fdStore: FdStore,
  dataPlane: DataPlane,
): Promise<DataPath> {
  using netlink = new Netlink()
  const sockets = openUnderlaySockets(underlay, config.vxlanPort, fdStore)
  const gateways = ipam.ranges.map(gatewayOf)
  const hostFd = openHostDevice(netlink, { mtuBytes: own.mtuBytes, gateways, podCIDRs: config.podCIDRs }, fdStore)
  const offloads = probeOffloads(hostFd)
  const { surroundings } = peers
  await dataPlane.start({ hostFd, ...sockets, surroundings })
  peers.follow((surroundings) => dataPlane.setSurroundings(surroundings))
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
  { own, underlay, store, peers }: ClusterNode,
  { dataPlane, offloads, fdStore }: DataPath,
  changes: Pick<HostOptions, 'mtuChanged' | 'underlayMoved'>,
  log: Logger,
): Promise<Host> {
  const directRoutes = (): DirectRoute[] => peers.directRoutes
  const replaceHost = (fd: number): Promise<void> => dataPlane.replaceHost(fd)
  return Host.start({ config, own, underlay, store, offloads, fdStore, directRoutes, replaceHost, ...changes, log })
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
