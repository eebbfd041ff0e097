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
  const usual = parseDecimals(text) ?? parseGroups(text)
  if (usual !== undefined) return usual
  if (!ipaddr.IPv4.isValidFourPartDecimal(text) && !ipaddr.IPv6.isValid(text))
    throw new Error(`${text} is no IP address`)
  const address = ipaddr.parse(text)
  const v6 = address.kind() === 'ipv4' ? (address as ipaddr.IPv4).toIPv4MappedAddress() : (address as ipaddr.IPv6)
  const bytes = v6.toByteArray()
  const word = (i: number): number =>
    (bytes[i * 4]! << 24) | (bytes[i * 4 + 1]! << 16) | (bytes[i * 4 + 2]! << 8) | bytes[i * 4 + 3]! | 0
  return [word(0), word(1), word(2), word(3)]
}

/** The usual way to write IPv4 addresses, which are parsed by the hundred thousand; undefined for all else. */
function parseDecimals(text: string): AddressWords | undefined {
  let word = 0
  let number = -1
  let dots = 0
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit >= 0 && digit <= 9) {
      if (number === 0) return undefined
      number = number === -1 ? digit : number * 10 + digit
      if (number > 255) return undefined
    } else if (digit === -2 && number !== -1) {
      word = (word << 8) | number
      number = -1
      dots++
    } else return undefined
  }
  return dots === 3 && number !== -1 ? [0, 0, 0xffff, (word << 8) | number] : undefined
}

/** Likewise for IPv6: groups of hexadecimal digits, some of them left out. */
function parseGroups(text: string): AddressWords | undefined {
  const [head = '', tail, ...more] = text.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const leftOut = 8 - before.length - after.length
  if (more.length > 0 || (tail === undefined ? leftOut !== 0 : leftOut < 1)) return undefined
  const words: [number, number, number, number] = [0, 0, 0, 0]
  for (let i = 0; i < before.length + after.length; i++) {
    const isBefore = i < before.length
    const group = isBefore ? before[i]! : after[i - before.length]!
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined
    const place = isBefore ? i : i + leftOut
    words[place >> 1]! |= Number.parseInt(group, 16) << (place & 1 ? 0 : 16)
  }
  return words
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
