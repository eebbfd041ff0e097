/**
 * What CNI calls pass through. While polderd is being taken over it is closed: calls under way end, new ones wait, and
 * go on here (the takeover failed) or at the successor, to whom they are passed on. So no runtime sees a failure.
 */
import http from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { CniHandler } from '../api/context.ts'

type Turn = 'here' | 'there'

export class Gate {
  #inside = 0
  #idle: (() => void) | undefined
  #turn: Promise<Turn> = Promise.resolve('here')
  #decide: (turn: Turn) => void = () => {}

  /** The same handler, behind the gate; `socket` is where the successor answers. */
  guard(handle: CniHandler, socket: string): CniHandler {
    return async (headers, body) => {
      if ((await this.#turn) === 'there') return passOn(headers, body, socket)
      this.#inside++
      try {
        return await handle(headers, body)
      } finally {
        this.#inside--
        if (this.#inside === 0) this.#idle?.()
      }
    }
  }

  /** Resolves when the last call under way has ended. */
  async close(): Promise<void> {
    this.#turn = new Promise((resolve) => {
      this.#decide = resolve
    })
    if (this.#inside > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
      })
    }
  }

  /** Those who wait go on here. */
  open(): void {
    this.#decide('here')
    this.#turn = Promise.resolve('here')
  }

  /** Those who wait, and all who come, go on at the successor. */
  leave(): void {
    this.#decide('there')
    this.#turn = Promise.resolve('there')
  }
}

async function passOn(headers: http.IncomingHttpHeaders, body: string, socket: string): ReturnType<CniHandler> {
  const own = Object.entries(headers).filter(([name]) => name.startsWith('cni-'))
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const path = { socketPath: socket, method: 'POST', path: '/cni', agent: false }
    const request = http.request({ ...path, headers: Object.fromEntries(own) as http.OutgoingHttpHeaders }, resolve)
    request.once('error', reject)
    request.end(body)
  })
  return { ok: response.statusCode === 200, body: (await buffer(response)).toString('utf8') }
}
