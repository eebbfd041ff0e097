/** What the kernel sends over netlink, decoded as each kind of answer: nothing but NetlinkError is ever thrown. */
import { decodeAddress, encodeAddress } from '../../../daemon/netlink/address.ts'
import { decodeLink, encodeBridge, encodeLinkSettings, encodeVeth } from '../../../daemon/netlink/link.ts'
import * as message from '../../../daemon/netlink/message.ts'
import { NetlinkError } from '../../../daemon/netlink/netlink-error.ts'
import { decodeGeneration } from '../../../daemon/netlink/nf-tables.ts'
import { decodeRoute, decodeRouteAnswer, encodeRoute } from '../../../daemon/netlink/route.ts'
import { join } from '../mutate.ts'
import type { Target } from '../target.ts'

const DECODERS: Record<string, (body: Uint8Array, flags: number) => unknown> = {
  link: decodeLink,
  address: decodeAddress,
  route: decodeRoute,
  answer: decodeRouteAnswer,
  generation: decodeGeneration,
  error: (body, flags) => message.decodeError({ type: message.NLMSG_ERROR, flags, sequence: 1, body }, 'try'),
  done: (body, flags) => message.decodeError({ type: message.NLMSG_DONE, flags, sequence: 1, body }, 'try'),
}
const NAMES = Object.keys(DECODERS)

/** The first byte says which decoder, the rest is a datagram of messages. */
function run(input: Uint8Array): string {
  const name = NAMES[(input[0] ?? 0) % NAMES.length]!
  let decoded = 0
  try {
    for (const { body, flags } of message.decodeMessages(input.subarray(1))) {
      const value = DECODERS[name]!(body, flags)
      if (value !== undefined) decoded++
    }
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error
    return `${name} ${error.message.replaceAll(/\d+/g, '#').slice(0, 60)}`
  }
  return `${name} ${Math.min(decoded, 2)}`
}

const frame = (body: Uint8Array, flags = 2): Uint8Array => message.encodeMessage({ type: 16, flags, sequence: 1 }, body)
const seed = (name: string, ...messages: Uint8Array[]): Uint8Array =>
  join(Uint8Array.of(NAMES.indexOf(name)), ...messages)
const route = { dst: '10.244.2.0/24', via: '192.0.2.2', index: 3, protocol: 114, metric: 5 }
const vxlan = message.nest(18, message.text(1, 'vxlan'), message.nest(2, message.u32(1, 7)))

export const netlink: Target = {
  name: 'netlink',
  watches: /\/daemon\/netlink\//,
  seeds: [
    seed('link', frame(encodeLinkSettings(3, { mtuBytes: 1450 })), frame(encodeBridge('br0'))),
    seed('link', frame(join(encodeVeth('a', { name: 'b' }), message.attribute(23, new Uint8Array(200))))),
    seed('link', frame(join(encodeLinkSettings(3, {}), message.text(3, 'v0'), vxlan))),
    seed('address', frame(encodeAddress(3, '10.244.1.1/32')), frame(encodeAddress(3, 'fd00::1/64'))),
    seed('route', frame(encodeRoute(route as Parameters<typeof encodeRoute>[0]))),
    seed('route', frame(join(new Uint8Array(12), message.nest(9, Uint8Array.of(16, 0, 0, 0, 3, 0, 0, 0))))),
    seed('answer', frame(encodeRoute(route as Parameters<typeof encodeRoute>[0]))),
    seed('generation', frame(join(new Uint8Array(4), message.attribute(1, Uint8Array.of(0, 0, 0, 9))))),
    seed('error', frame(join(Uint8Array.of(0xef, 255, 255, 255), new Uint8Array(16), message.text(1, 'no')), 0x300)),
    seed('done', frame(join(new Uint8Array(4), message.text(1, 'interrupted')), 0x200)),
  ],
  bytesMax: 600,
  run,
}
