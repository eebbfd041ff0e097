/**
 * A port of a Service, as the table of services takes it, and the memory that becomes of all of them (services.ts).
 */

export interface Frontend {
  readonly address: string
  readonly port: number
  /** Others listen at this address too: what comes to another port there is for them. */
  readonly sharesAddress?: boolean
}

export interface Endpoint {
  readonly address: string
  readonly port: number
  /** The same for as long as it is the same pod behind the same service port; 31 bits, not 0. */
  readonly identity: number
}

export interface ServicePort {
  /** The same for as long as it is the same port of the same service; 31 bits. */
  readonly identity: number
  readonly protocol: number
  readonly frontends: readonly Frontend[]
  /** All that flows may go on with: the usable ones, and those that are terminating. */
  readonly endpoints: readonly Endpoint[]
  /** How many new flows could go to, whoever asks and wherever they are. */
  readonly usable: number
  /** Those that new flows may go to, by number in `endpoints`, each once. */
  readonly inside: readonly number[]
  readonly outside: readonly number[]
  /** Session affinity by client address (ClientIP), 0 for none. */
  readonly affinitySeconds: number
  /** Who may come, from wherever; empty: everybody. */
  readonly sourceRanges: readonly string[]
}

export interface ServiceBuffers {
  readonly frontends: SharedArrayBuffer
  readonly services: SharedArrayBuffer
  readonly blocks: SharedArrayBuffer
}
