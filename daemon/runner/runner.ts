/**
 * The runner as polderd uses it: the two runtimes, the reconciler that drives them and the binder that gives pods their
 * nodes, made and started together.
 */
import { rmSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import type { Attachments } from '../attachments/attachment.ts'
import type { Pod } from '../cluster/objects.ts'
import type { ClusterStore } from '../cluster/store.ts'
import type { Config } from '../config/config.ts'
import { Binder } from './binding.ts'
import { CriRuntime } from './cri/cri-runtime.ts'
import { podDnsConfig } from './cri/resolv-conf.ts'
import { NetnsRuntime } from './netns-runtime.ts'
import type { PodRuntime } from './pod-runtime.ts'
import { Reconciler } from './reconcile.ts'

const LOG_ROOT = '/var/log/pods'
const LOG_ROTATION_INTERVAL_MS = 5_000
/** The name of the network in the conflist that polderd installs. */
const NETWORK = 'polder'

export interface RunnerOptions {
  config: Pick<Config, 'containerdSocket' | 'socket'>
  own: { name: string; underlayAddress: string }
  store: ClusterStore
  attachments: Attachments
  log: Logger
}

export interface Runner {
  runtimeFor(pod: Pod): PodRuntime
  start(): void
  /** Begins nothing until resume(), and resolves when what was under way is done; exec and logs go on. */
  pause(): Promise<void>
  resume(): void
  /** Leaves every pod running. */
  stop(): Promise<void>
}

export function createRunner({ config, own, store, attachments, log }: RunnerOptions): Runner {
  const hostIPs = [own.underlayAddress]
  const dns = podDnsConfig()
  const execDir = `${dirname(config.socket)}/exec`
  const containers = new CriRuntime({
    containerdSocket: config.containerdSocket,
    execDir,
    onNews: ({ uid, container, message }) => {
      const pod = store.list('Pod').find(({ metadata }) => metadata.uid === uid)
      const name = pod && `${pod.metadata.namespace}/${pod.metadata.name}`
      log.info({ pod: name, container }, message)
      reconciler.look()
    },
    facts: { nodeName: own.name, hostIPs, logRoot: LOG_ROOT, ...(dns === undefined ? {} : { dns }) },
  })
  const namespaces = new NetnsRuntime({ attachments, nodeName: own.name, hostIPs, network: NETWORK })
  const reconciler = new Reconciler({ store, nodeName: own.name, containers, namespaces, log })
  const binder = new Binder(store, own.name, log)
  let rotation: NodeJS.Timeout | undefined
  const rotateLogs = (): void => {
    containers.rotateLogs().catch((error: unknown) => {
      log.warn({ err: error }, 'a container log could not be begun anew; it grows until that works')
    })
  }
  return {
    runtimeFor: (pod) => reconciler.runtimeOf(pod),
    start: () => {
      // Named pipes of commands whose polderd was killed.
      rmSync(execDir, { recursive: true, force: true })
      reconciler.start()
      binder.start()
      rotation = setInterval(rotateLogs, LOG_ROTATION_INTERVAL_MS)
    },
    pause: async () => {
      binder.stop()
      containers.pause()
      await reconciler.stop()
    },
    resume: () => {
      containers.resume()
      reconciler.start()
      binder.start()
    },
    stop: async () => {
      clearInterval(rotation)
      binder.stop()
      await reconciler.stop()
      containers.close()
    },
  }
}
