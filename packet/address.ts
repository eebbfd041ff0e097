/**
 * Addresses at the edges: text to and from the four words that tables and packets use (IPv4 mapped into IPv6), and
 * prefixes. For building tables and for people; the data path only ever sees words.
 */
import ipaddr from 'ipaddr.js'

export type AddressWords = readonly [number, number, number, number]

export interface Prefix {
  words: AddressWords
  /** 0..128; an IPv4 /24 is 120. */
  length: number
}

const MAPPED_BITS = 96

/** Throws an Error on anything that is no address; the short forms of inet_aton (10.1) are none here. */
export function parseAddress(text: string): AddressWords {
  if (!ipaddr.IPv4.isValidFourPartDecimal(text) && !ipaddr.IPv6.isValid(text))
    throw new Error(`${text} is no IP address`)
  const address = ipaddr.parse(text)
  const v6 = address.kind() === 'ipv4' ? (address as ipaddr.IPv4).toIPv4MappedAddress() : (address as ipaddr.IPv6)
  const bytes = v6.toByteArray()
  const word = (i: number): number =>
    (bytes[i * 4]! << 24) | (bytes[i * 4 + 1]! << 16) | (bytes[i * 4 + 2]! << 8) | bytes[i * 4 + 3]! | 0
  return [word(0), word(1), word(2), word(3)]
}

/** `10.244.1.0/24` or `fd00::/64`; an address alone is a prefix of full length. Host bits are cleared. */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf('/')
  const address = slash < 0 ? text : text.slice(0, slash)
  const v4 = !address.includes(':')
  const given = slash < 0 ? (v4 ? 32 : 128) : Number(text.slice(slash + 1))
  if (!Number.isInteger(given) || given < 0 || given > (v4 ? 32 : 128)) {
    throw new Error(`${text} is no prefix: the length must be 0 to ${v4 ? 32 : 128}`)
  }
  const length = v4 ? given + MAPPED_BITS : given
  const words = parseAddress(address)
  const masks = maskWords(length)
  return { length, words: [words[0] & masks[0], words[1] & masks[1], words[2] & masks[2], words[3] & masks[3]] }
}

/** The four words of a mask of `length` one bits. */
export function maskWords(length: number): AddressWords {
  const mask = (i: number): number => {
    const bits = Math.max(0, Math.min(32, length - i * 32))
    return bits === 0 ? 0 : -1 << (32 - bits)
  }
  return [mask(0), mask(1), mask(2), mask(3)]
}

export function isMappedIpv4(words: AddressWords): boolean {
  return words[0] === 0 && words[1] === 0 && words[2] === 0xffff
}

export function formatAddress(words: AddressWords): string {
  const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255])
  const address = new ipaddr.IPv6(bytes)
  return isMappedIpv4(words) ? address.toIPv4Address().toString() : address.toString()
}
