/**
 * A netlink socket in one network namespace: one request and its answers at a time, synchronous. An operation is one
 * send and a few receives, 13 to 35 µs, less than a promise's detour is worth.
 *
 * Every request but a dump asks for an acknowledgement, so that each ends with NLMSG_ERROR (0 for success) or
 * NLMSG_DONE. Answers carry the request's sequence number; what is left of a request that was given up is passed over.
 * A dump that was overtaken by a change (NLM_F_DUMP_INTR) begins anew. The socket keeps its namespace, the file
 * descriptor it was opened from may be closed.
 *
 * Every method throws NetlinkError. What the messages mean is not known here, and changes are not watched.
 */
import { closeFd, openNetlink, receiveMessage, sendMessage } from '../nic/nic.ts'
import type { Message } from './message.ts'
import * as message from './message.ts'
import { EINTR, EMSGSIZE, NetlinkError } from './netlink-error.ts'

/** The kernel builds dumps in pieces of at most 32 KiB. */
const RECEIVE_BUFFER_BYTES = 65536
const DUMP_ATTEMPTS = 16

/** `flags` with NLM_F_REQUEST, and NLM_F_ACK where the answer is waited for. */
export interface Request {
  type: number
  flags: number
  body: Uint8Array
}

interface Exchange {
  answers: Message[]
  /** Something changed during the dump: the answers may not belong together. */
  interrupted: boolean
}

export class NetlinkSocket {
  readonly #fd: number
  readonly #buffer = new Uint8Array(RECEIVE_BUFFER_BYTES)
  #sequence = 0

  /** `netnsFd`: an open file of the namespace, -1 for the caller's own; `protocol`: NETLINK_* of daemon/nic. */
  constructor(netnsFd: number, protocol: number) {
    this.#fd = attempt('open a netlink socket', () => openNetlink(netnsFd, 0, protocol))
  }

  close(): void {
    closeFd(this.#fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  dump(operation: string, type: number, body: Uint8Array): Message[] {
    for (let attempts = 0; attempts < DUMP_ATTEMPTS; attempts++) {
      const { answers, interrupted } = this.#exchange(operation, type, message.NLM_F_DUMP, body)
      if (!interrupted) return answers
    }
    throw new NetlinkError(operation, EINTR, `interrupted by changes ${DUMP_ATTEMPTS} times`)
  }

  request(operation: string, type: number, flags: number, body: Uint8Array): Message[] {
    return this.#exchange(operation, type, flags | message.NLM_F_ACK, body).answers
  }

  /** Several requests in one datagram, each acknowledged; throws the first error among the answers. */
  batch(operation: string, requests: readonly Request[]): void {
    const numbered = requests.map((request) => ({ ...request, sequence: ++this.#sequence >>> 0 }))
    const datagram = message.concat(numbered.map(({ body, ...header }) => message.encodeMessage(header, body)))
    attempt(operation, () => sendMessage(this.#fd, datagram))
    const waiting = new Set(numbered.filter(({ flags }) => flags & message.NLM_F_ACK).map(({ sequence }) => sequence))
    let first: NetlinkError | undefined
    while (waiting.size > 0) {
      for (const answer of this.#receive(operation)) {
        if (answer.type !== message.NLMSG_ERROR || !waiting.delete(answer.sequence)) continue
        first ??= message.decodeError(answer, operation)
      }
    }
    if (first !== undefined) throw first
  }

  #exchange(operation: string, type: number, flags: number, body: Uint8Array): Exchange {
    const sequence = ++this.#sequence >>> 0
    const request = message.encodeMessage({ type, flags: flags | message.NLM_F_REQUEST, sequence }, body)
    attempt(operation, () => sendMessage(this.#fd, request))
    const answers: Message[] = []
    let interrupted = false
    for (;;) {
      for (const answer of this.#receive(operation)) {
        if (answer.sequence !== sequence) continue
        if ((answer.flags & message.NLM_F_DUMP_INTR) !== 0) interrupted = true
        if (answer.type !== message.NLMSG_ERROR && answer.type !== message.NLMSG_DONE) {
          answers.push(answer)
          continue
        }
        const error = message.decodeError(answer, operation)
        if (error) throw error
        return { answers, interrupted }
      }
    }
  }

  #receive(operation: string): Message[] {
    const length = attempt(operation, () => receiveMessage(this.#fd, this.#buffer))
    if (length > this.#buffer.length) throw new NetlinkError(operation, EMSGSIZE, `an answer of ${length} bytes`)
    return message.decodeMessages(this.#buffer.slice(0, length))
  }
}

/** The addon's own errors (no answer within 2 s: EAGAIN) as NetlinkErrors. */
function attempt(operation: string, call: () => number): number {
  try {
    return call()
  } catch (error) {
    const { errno } = error as { errno?: unknown }
    throw typeof errno === 'number' ? new NetlinkError(operation, errno) : error
  }
}
