/**
 * The parts of a polderd that runs, and the ways in which they end: all at once (stop), or one after another while
 * another polderd takes over. polderd.ts builds them; the conversation of a takeover is handover/takeover.ts.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Api } from './api/server.ts'
import type { NodeAttachments } from './attachments/attachments.ts'
import type { Announcer } from './balancer/announcer.ts'
import type { HealthChecks } from './balancer/health-checks.ts'
import type { FolderStore } from './cluster/folder/folder-store.ts'
import type { Spool } from './cni/spool.ts'
import type { Config } from './config/config.ts'
import type { NodeStatusPublisher } from './control/node-status.ts'
import type { Peers } from './control/peers.ts'
import type { Services } from './control/services.ts'
import type { OwnNode } from './control/surroundings.ts'
import type { Underlay } from './control/underlay.ts'
import type { DataPlane } from './dataplane/dataplane.ts'
import type { FdStore } from './handover/fd-store.ts'
import type { Gate } from './handover/gate.ts'
import type { Predecessor } from './handover/incoming.ts'
import { lendDescriptors, takeDescriptorsBack } from './handover/open.ts'
import type { Running } from './handover/outgoing.ts'
import type { Systemd } from './handover/systemd.ts'
import type { Host } from './host/host.ts'
import type { HostPorts } from './host-ports/host-ports.ts'
import type { Ipam } from './ipam/ipam.ts'
import type { Runner } from './runner/runner.ts'

/** What polderd knows of itself and of the others. */
export interface ClusterNode {
  own: OwnNode
  underlay: Underlay
  store: FolderStore
  ipam: Ipam
  peers: Peers
  hostPorts: HostPorts
  services: Services
}

/** What carries packets, and the descriptors that outlive it. */
export interface DataPath {
  dataPlane: DataPlane
  /** What the kernel can (probeOffloads). */
  offloads: number
  fdStore: FdStore
}

/** All but the API, which speaks for them. */
export interface Inner extends ClusterNode, DataPath {
  config: Config
  systemd: Systemd | undefined
  gate: Gate
  attachments: NodeAttachments
  spool: Spool
  nodeStatus: NodeStatusPublisher
  runner: Runner | undefined
  host: Host
  announcer: Announcer
  healthChecks: HealthChecks
}

/** All that runs, once it does. */
export interface Parts extends Inner {
  api: Api
}

/** How long a polderd that was taken over stays for open sessions of exec and logs. */
const SESSIONS_PATIENCE_MS = 3_600_000

/** In the reverse order of their making. */
export async function stopAll({
  announcer,
  healthChecks,
  nodeStatus,
  runner,
  api,
  spool,
  host,
  services,
  peers,
  ...parts
}: Parts): Promise<void> {
  for (const part of [announcer, healthChecks, nodeStatus, runner, api, spool, host, services, peers]) {
    await part?.stop()
  }
  await parts.attachments.close()
  parts.fdStore.close()
  await parts.dataPlane.stop()
  await parts.store.close()
}

/** From here on the packets are ours: the last step, which nothing follows that could fail. */
export async function takeOver(predecessor: Predecessor, { dataPlane, gate }: Parts): Promise<void> {
  await predecessor.hold()
  dataPlane.release()
  await predecessor.done()
  gate.open()
}

/** What a takeover by another polderd does with all that runs here. */
export function handOverOf(parts: Parts): { running: Running; handedOver: Promise<void> } {
  const { config, systemd, gate, own, store, dataPlane, fdStore, attachments, spool, nodeStatus, runner, host, api } =
    parts
  const { announcer } = parts
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
    async hold() {
      // Until now: the successor is the same node, and goes on with the same leases.
      await announcer.pause()
      await dataPlane.hold()
    },
    release() {
      dataPlane.release()
      announcer.start()
    },
    leave: () => void leave(parts).then(resolve, resolve),
  }
  return { running, handedOver }
}

/** Lets go of what the successor has, and stays for those who are still connected. */
async function leave({
  gate,
  api,
  announcer,
  healthChecks,
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
  for (const part of [announcer, healthChecks, host, services, peers]) await part.stop()
  await attachments.close()
  fdStore.close()
  await dataPlane.stop()
  await Promise.race([disconnected, delay(SESSIONS_PATIENCE_MS)])
  await runner?.stop()
  await store.close()
}
