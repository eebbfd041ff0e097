/**
 * The composition root: every part of the daemon is constructed here, in the order in which one stands on another, and
 * stopped in the reverse one. The only file that knows them all.
 */
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
import { openHostDevice } from './control/host-device.ts'
import { NodeStatusPublisher } from './control/node-status.ts'
import { Peers } from './control/peers.ts'
import type { OwnNode } from './control/surroundings.ts'
import { chooseUnderlay, openUnderlaySockets } from './control/underlay.ts'
import { DataPlane } from './dataplane/dataplane.ts'
import { Ipam } from './ipam/ipam.ts'
import { gatewayOf } from './ipam/range.ts'
import { Netlink } from './netlink/netlink.ts'
import { createRunner } from './runner/runner.ts'
import { VERSION } from './version.ts'

export interface Polderd {
  /** Lets go of everything; devices, addresses and running pods stay as they are. */
  stop(): Promise<void>
}

/** Resolves when the node is ready: packets flow, the API answers, the container runtime finds the plugin. */
export async function startPolderd(config: Config, log: Logger): Promise<Polderd> {
  const startedAt = new Date().toISOString()
  using netlink = new Netlink()

  // Who we are: our address on the underlay, our name in the cluster, our pod ranges.
  const underlay = chooseUnderlay(netlink, config)
  const store = await FolderStore.open({ ...config, folder: config.clusterFolder, log })
  const { spec } = await store.claimNode(config.nodeName)
  const own: OwnNode = {
    name: config.nodeName,
    podCIDRs: spec.podCIDRs,
    underlayAddress: underlay.address,
    mtuBytes: underlay.podMtuBytes,
  }
  const ipam = new Ipam({ ranges: spec.podCIDRs, now: Date.now })
  const { podCIDRs } = config

  // Packets flow.
  const peers = new Peers({ own, overlay: config, store, log })
  const sockets = openUnderlaySockets(underlay, config.vxlanPort)
  const gateways = ipam.ranges.map(gatewayOf)
  const hostFd = openHostDevice(netlink, { mtuBytes: own.mtuBytes, gateways, podCIDRs })
  const dataPlane = await DataPlane.start({ hostFd, ...sockets, surroundings: peers.surroundings, log })
  peers.follow((surroundings) => dataPlane.setSurroundings(surroundings))

  // Pods come and go.
  const attachments = new NodeAttachments({
    stateDir: config.stateDir,
    bootId: readBootId(),
    ipam,
    ports: dataPlane,
    mtuBytes: own.mtuBytes,
    log,
  })
  await attachments.restore()
  const spool = new Spool({ folder: `${config.stateDir}/spool`, attachments, log })
  const runner = config.runner ? createRunner({ config, own, store, attachments, log }) : undefined

  // We can be talked to, and say so.
  const info = (): NodeInfo => ({
    name: own.name,
    version: VERSION,
    pid: process.pid,
    startedAt,
    podCIDRs: own.podCIDRs,
    gateways,
    underlayAddress: own.underlayAddress,
    mtuBytes: own.mtuBytes,
  })
  const api = createApi({
    socket: config.socket,
    store,
    attachments,
    info,
    counters: () => dataPlane.counters(),
    runtimeFor: (pod) => runner?.runtimeFor(pod),
    cni: createCni({ attachments, spool, log }),
    log,
  })
  await api.start()
  // Only now: a DEL is spooled where nobody listens, so none can come in between.
  await spool.drain()
  installConflist({ ...config, spool: `${config.stateDir}/spool` })
  const nodeStatus = new NodeStatusPublisher({ own, version: VERSION, store, log })
  await nodeStatus.start()
  runner?.start()
  log.info({ underlay, podCIDRs: own.podCIDRs, socket: config.socket }, 'the node is ready')

  return {
    async stop() {
      await nodeStatus.stop()
      await api.stop()
      await runner?.stop()
      await peers.stop()
      await attachments.close()
      await dataPlane.stop()
      await store.close()
    },
  }
}
