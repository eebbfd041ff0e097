/**
 * The captures in test/vectors, read through every layer: each header is blanked and written again from what read()
 * made of it, which must restore the packet byte for byte; and what the layers say, in tcpdump's words, must be
 * tcpdump's own text (the .txt beside each capture) to the letter.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as icmp from '../../../packet/formats/icmp.ts'
import * as ipv4 from '../../../packet/formats/ipv4.ts'
import * as tcp from '../../../packet/formats/tcp.ts'
import * as udp from '../../../packet/formats/udp.ts'
import { type Format, headerBytes } from '../../support/header-cases.ts'
import { toHex, viewOf } from '../../support/hex.ts'
import { LINKTYPE_ETHERNET, readPcap } from '../../support/pcap.ts'
import { layersOf, pseudoHeaderOf, shortText, timeText, verboseText } from '../../support/tcpdump-text.ts'

const VECTORS = `${import.meta.dirname}/../../vectors`

describe.each(['vxlan', 'vxlan_port_8472', 'gso-ipv4-vxlan-ipv4', 'gso-ipv6-vxlan-ipv4'])('%s', (name) => {
  const packets = readPcap(`${VECTORS}/${name}.pcap`)

  test('every layer reads and writes back, byte for byte', () => {
    expect(packets.length).toBeGreaterThan(0)
    for (const { bytes, linktype } of packets) {
      expect(linktype).toBe(LINKTYPE_ETHERNET)
      const view = viewOf(bytes)
      const rebuilt = bytes.slice()
      for (const { format, at } of layersOf(view)) {
        const { read, write } = format as Format<object>
        rebuilt.fill(0xee, at, at + headerBytes(format, view, at))
        write(viewOf(rebuilt), at, read(view, at))
      }
      expect(toHex(rebuilt)).toBe(toHex(bytes))
    }
  })

  test("says what tcpdump's text says", () => {
    const describePacket = name.startsWith('gso') ? verboseText : shortText
    const text = packets.map(({ timestamp, bytes }, i) => {
      const view = viewOf(bytes)
      const micros = String(Math.round((timestamp % 1) * 1e6)).padStart(6, '0')
      return `${String(i + 1).padStart(5)}  ${timeText(timestamp)}.${micros} ${describePacket(view, layersOf(view))}\n`
    })
    expect(text.join('')).toBe(readFileSync(`${VECTORS}/${name}.txt`, 'utf8'))
  })

  test('checksums are right, absent, or partial as their sender left them', () => {
    const found = new Set<string>()
    for (const { bytes } of packets) {
      const view = viewOf(bytes)
      layersOf(view).forEach(({ format, at, end }, i, layers) => {
        if (format === ipv4) expect(ipv4.verifyChecksum(view, at)).toBe(true)
        if (format === icmp) expect(icmp.verifyChecksum(view, at, end)).toBe(true)
        if (format !== tcp && format !== udp) return
        const transport = format as typeof tcp | typeof udp
        const pseudoHeader = pseudoHeaderOf(view, transport, layers[i - 1]!, at, end)
        expect(transport.verifyChecksum(view, at, end, pseudoHeader)).toBe(false)
        if (transport.hasPartialChecksum(view, at, pseudoHeader)) found.add('partial')
        else if (transport === udp && !udp.hasChecksum(view, at)) found.add('absent')
        else found.add('wrong')
      })
    }
    expect([...found]).toEqual([name.startsWith('gso') ? 'partial' : 'absent'])
  })
})
