/**
 * A node's API with everything behind it that needs no root: the real server on a real socket, the real folder store in
 * a temporary folder, the local runtime (local-runtime.ts). Attachments and counters are what the test puts there.
 * Several nodes share a cluster by sharing its folder.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pino from 'pino'
import { type Api, createApi } from '../../daemon/api/server.ts'
import type { Counters, Finding, NodeInfo } from '../../daemon/api/types.ts'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import type { Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import type { ClusterStore } from '../../daemon/cluster/store.ts'
import { PolderError } from '../../daemon/errors.ts'
import type { FlowRecord } from '../../packet/tables/flow-list.ts'
import { LocalRuntime } from './local-runtime.ts'

const RANGES = {
  podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
  serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  loadBalancerPools: [],
  nodeMaskSizeIPv4: 24,
  nodeMaskSizeIPv6: 64,
}

export interface ApiNode {
  name: string
  socket: string
  store: ClusterStore
  runtime: LocalRuntime
  attachments: Attachment[]
  counters: Counters
  flows: FlowRecord[]
  findings: Finding[]
  /** What the CNI handler was given, as `COMMAND body`. */
  cniCalls: string[]
  api: Api
  stop(): Promise<void>
}

export interface Scratch {
  folder: string
  remove(): void
}

export function makeScratch(): Scratch {
  const folder = mkdtempSync(path.join(tmpdir(), 'polder-test-'))
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

export async function startApiNode(scratch: string, name = 'node1', runner = true): Promise<ApiNode> {
  const log = pino({ level: 'silent' })
  const store = await FolderStore.open({ folder: path.join(scratch, 'cluster'), log, ...RANGES })
  const runtime = new LocalRuntime(scratch)
  const attachments: Attachment[] = []
  const counters: Counters = {
    entrances: [],
    drops: [],
    answers: 0,
    flows: { flows: 0, capacity: 0, opened: 0, expired: 0, evicted: 0, refused: 0 },
    queues: [],
  }
  const flows: FlowRecord[] = []
  const findings: Finding[] = []
  const cniCalls: string[] = []
  const socket = path.join(scratch, name, 'polderd.sock')
  const api = createApi({
    socket,
    store,
    attachments: {
      add: () => Promise.reject(new PolderError('not-ready', 'This node attaches nothing.', 'It is a test.')),
      check: () => Promise.reject(new PolderError('check-failed', 'This node attaches nothing.', 'It is a test.')),
      remove: async () => {},
      get: (containerId) => attachments.find((each) => each.containerId === containerId),
      list: () => attachments,
      gateways: ['10.244.0.1', 'fd00:10:244::1'],
      mtuBytes: 1450,
    },
    info: () => nodeInfo(name),
    counters: () => counters,
    flows: () => flows,
    findings: async () => findings,
    runtimeFor: () => (runner ? runtime : undefined),
    cni: async (headers, body) => {
      cniCalls.push(`${headers['x-cni-command']} ${body}`)
      return { ok: headers['x-cni-command'] === 'ADD', body: '{"cniVersion":"1.0.0"}' }
    },
    takeover: async (connection) => void connection.destroy(),
    log,
  })
  await api.start().catch(async (error) => {
    await store.close()
    throw error
  })
  const stop = async () => {
    await api.stop()
    await store.close()
  }
  return { name, socket, store, runtime, attachments, counters, flows, findings, cniCalls, api, stop }
}

function nodeInfo(name: string): NodeInfo {
  return {
    name,
    version: '0.1.0',
    pid: process.pid,
    startedAt: '2026-01-31T12:00:00Z',
    podCIDRs: ['10.244.0.0/24', 'fd00:10:244::/64'],
    gateways: ['10.244.0.1', 'fd00:10:244::1'],
    underlayAddress: '192.0.2.1',
    mtuBytes: 1450,
  }
}

/** A pod with these containers, bound to `nodeName`, in the store. */
export async function putPod(node: ApiNode, name: string, nodeName?: string, containers = ['main']): Promise<Pod> {
  await node.store.put({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      containers: containers.map((container) => ({ name: container, image: 'busybox' })),
      ...(nodeName === undefined ? {} : { nodeName }),
    },
  })
  return node.store.get('Pod', name, 'default')!
}

export function runningStatus(nodeName: string, addresses: string[], containers = ['main']): PodStatus {
  return {
    nodeName,
    phase: 'Running',
    podIPs: addresses.map((ip) => ({ ip })),
    conditions: [{ type: 'Ready', status: 'True' }],
    containerStatuses: containers.map((name) => ({
      name,
      image: 'busybox',
      ready: true,
      restartCount: 0,
      state: { running: { startedAt: '2026-01-31T12:00:00Z' } },
    })),
  }
}

export function attachmentOf(pod: Pod, addresses: string[]): Attachment {
  const { name, namespace, uid } = pod.metadata
  return {
    containerId: `id-of-${name}`,
    ifName: 'eth0',
    netns: `/run/netns/${name}`,
    addresses,
    network: 'polder',
    createdAt: '2026-01-31T12:00:00Z',
    bootId: 'a-boot',
    pod: { namespace: namespace!, name, ...(uid === undefined ? {} : { uid }) },
  }
}
