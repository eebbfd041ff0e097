/**
 * The node's word on its link, for both families: packet sockets on the underlay's interface, opened while there is
 * something to answer for, and opened anew when the interface is another one, or was down.
 */
import * as ethernet from '../../packet/formats/ethernet.ts'
import {
  closeFd,
  joinGroup,
  type NicError,
  openLink,
  receiveMessage,
  sendMessage,
  unwatch,
  type WatchHandle,
  watchReadable,
} from '../nic/nic.ts'
import { FRAME_BYTES_MAX, type Heard, hear, solicitedGroupOf } from './neighbour-frames.ts'

/** So that a storm of questions leaves the main thread time for everything else. */
const FRAMES_AT_ONCE = 64

interface Open {
  fd: number
  watch: WatchHandle
}

export class LinkSocket {
  readonly #onHeard: (heard: Heard) => void
  readonly #buffer = new Uint8Array(FRAME_BYTES_MAX)
  readonly #sockets = new Map<4 | 6, Open>()
  /** Groups of IPv6 that were joined, as text. */
  readonly #groups = new Map<string, Uint8Array>()
  #index = -1

  constructor(onHeard: (heard: Heard) => void) {
    this.#onHeard = onHeard
  }

  /** Brings the sockets to what these addresses need. Throws a NicError where the link does not let it. */
  listenFor(addresses: readonly string[], index: number): void {
    if (index !== this.#index) this.close()
    this.#index = index
    for (const family of [4, 6] as const) {
      const isWanted = addresses.some((address) => address.includes(':') === (family === 6))
      if (isWanted && !this.#sockets.has(family)) this.#open(family)
      if (!isWanted) this.#close(family)
    }
    if (this.#sockets.has(6)) this.#join(addresses.filter((address) => address.includes(':')))
  }

  send(frame: Uint8Array): void {
    const isArp = ethernet.etherType(new DataView(frame.buffer, frame.byteOffset), 0) === ethernet.ETHERTYPE_ARP
    const socket = this.#sockets.get(isArp ? 4 : 6)
    if (socket === undefined) return
    try {
      sendMessage(socket.fd, frame)
    } catch (error) {
      // A link that is down or full loses what is said on it: it is said again.
      if (!['ENETDOWN', 'ENOBUFS', 'EAGAIN', 'ENXIO'].includes((error as NicError).code)) throw error
    }
  }

  close(): void {
    for (const family of [4, 6] as const) this.#close(family)
  }

  #open(family: 4 | 6): void {
    const fd = openLink(this.#index, family === 4 ? ethernet.ETHERTYPE_ARP : ethernet.ETHERTYPE_IPV6)
    this.#sockets.set(family, { fd, watch: watchReadable(fd, () => this.#receive(family, fd)) })
  }

  #close(family: 4 | 6): void {
    const socket = this.#sockets.get(family)
    if (socket === undefined) return
    this.#sockets.delete(family)
    if (family === 6) this.#groups.clear()
    unwatch(socket.watch)
    closeFd(socket.fd)
  }

  /** Several addresses may share a group, which the kernel counts. */
  #join(addresses: readonly string[]): void {
    const { fd } = this.#sockets.get(6)!
    const wanted = new Map(addresses.map((address) => [solicitedGroupOf(address).join(), solicitedGroupOf(address)]))
    for (const [text, mac] of wanted) if (!this.#groups.has(text)) joinGroup(fd, this.#index, mac, 1)
    for (const [text, mac] of this.#groups) if (!wanted.has(text)) joinGroup(fd, this.#index, mac, 0)
    this.#groups.clear()
    for (const [text, mac] of wanted) this.#groups.set(text, mac)
  }

  #receive(family: 4 | 6, fd: number): void {
    for (let i = 0; i < FRAMES_AT_ONCE; i++) {
      let length: number
      try {
        length = receiveMessage(fd, this.#buffer)
      } catch (error) {
        // Anything but "nothing more" is the interface: the next look opens it anew.
        if ((error as NicError).code !== 'EAGAIN') this.#close(family)
        return
      }
      const heard = hear(this.#buffer.subarray(0, Math.min(length, FRAME_BYTES_MAX)))
      if (heard !== undefined) this.#onHeard(heard)
      if (!this.#sockets.has(family)) return
    }
  }
}
