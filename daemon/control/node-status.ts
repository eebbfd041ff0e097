/**
 * What this node says of itself in the cluster: its addresses, how to reach its pods, and that it is alive, with a
 * heartbeat. Others judge readiness by the heartbeat's age, so a node that dies says nothing more and is not ready.
 */
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import type { Logger } from 'pino'
import type { Condition, Encapsulation, NodeStatus } from '../cluster/objects.ts'
import type { ClusterStore } from '../cluster/store.ts'
import { readBootId } from '../files/boot-id.ts'
import { VERSION } from '../version.ts'
import { type OwnNode, vtepMac } from './surroundings.ts'
import type { Underlay } from './underlay.ts'

const HEARTBEAT_MS = 10_000

export interface NodeStatusOptions {
  own: OwnNode
  underlay: Underlay
  encapsulation: Encapsulation
  store: ClusterStore
  log: Logger
}

export class NodeStatusPublisher {
  readonly #options: NodeStatusOptions
  #timer: NodeJS.Timeout | undefined
  #since = ''

  constructor(options: NodeStatusOptions) {
    this.#options = options
  }

  /** Resolves once the cluster knows that this node is ready, or the log why it does not. */
  async start(): Promise<void> {
    this.#since = new Date().toISOString()
    this.#timer = setInterval(() => void this.beat(), HEARTBEAT_MS)
    await this.beat()
  }

  /** Says nothing more until start(): a successor does. */
  pause(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Says that the node is not ready; the last word. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#since = new Date().toISOString()
    await this.#tryToPublish({ status: 'False', reason: 'PolderdStopped', message: 'polderd was stopped' })
  }

  /** What has changed is known to the others now, not with the next heartbeat. Never rejects. */
  async beat(): Promise<void> {
    if (this.#timer === undefined) return
    await this.#tryToPublish({ status: 'True', reason: 'PolderdRunning', message: 'the data path carries packets' })
  }

  async #tryToPublish(ready: Pick<Condition, 'status' | 'reason' | 'message'>): Promise<void> {
    try {
      await this.#publish(ready)
    } catch (error) {
      this.#options.log.error({ err: error }, 'the heartbeat could not be written')
    }
  }

  #publish(ready: Pick<Condition, 'status' | 'reason' | 'message'>): Promise<void> {
    const { own, underlay, encapsulation, store } = this.#options
    const status: NodeStatus = {
      addresses: [
        { type: 'InternalIP', address: own.underlayAddress },
        { type: 'Hostname', address: own.name },
      ],
      conditions: [
        { type: 'Ready', ...ready, lastHeartbeatTime: new Date().toISOString(), lastTransitionTime: this.#since },
      ],
      network: {
        underlayAddress: own.underlayAddress,
        underlayAddresses: underlay.addresses,
        vtepMac: vtepMac(own.podCIDRs),
        mtuBytes: own.mtuBytes,
        encapsulation,
      },
      nodeInfo: { polderVersion: VERSION, kernelVersion: release(), osImage: osImage(), ...machine() },
    }
    return store.putNodeStatus(own.name, status)
  }
}

/** Two nodes with one machine id and different boots are clones. The id itself is nobody's business: machine-id(5). */
function machine(): { machineID?: string; bootID: string } {
  const bootID = readBootId()
  try {
    const id = readFileSync('/etc/machine-id', 'utf8').trim()
    if (id === '') return { bootID }
    return { machineID: createHmac('sha256', id).update('polder').digest('hex').slice(0, 32), bootID }
  } catch {
    return { bootID }
  }
}

function osImage(): string {
  try {
    const line = readFileSync('/etc/os-release', 'utf8').match(/^PRETTY_NAME="?([^"\n]*)"?$/m)
    return line?.[1] ?? 'unknown'
  } catch {
    return 'unknown'
  }
}
