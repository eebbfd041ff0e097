/** From nodes to peers and routes: who can be a peer, how it is reached, and what fits through. */
import { describe, expect, it } from 'vitest'
import type { Encapsulation, Node } from '../../daemon/cluster/objects.ts'
import { supersededNodes, surroundingsOf, vtepMac } from '../../daemon/control/surroundings.ts'
import { parseAddress } from '../../packet/address.ts'
import { RouteTable } from '../../packet/tables/routes.ts'
import { describeVerdict } from '../support/two-nodes.ts'

const own = {
  name: 'node1',
  podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'],
  underlayAddress: '192.0.2.1',
  mtuBytes: 1450,
  tunnelMtuBytes: 1450,
}
const overlay = {
  podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
  serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  vxlanPort: 4789,
  vxlanVni: 1,
  copyDscp: false,
  encapsulation: 'vxlan' as Encapsulation,
}

function node(n: number, network: Partial<NonNullable<Node['status']>['network']> = {}): Node {
  const underlayAddress = `192.0.2.${n}`
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: `node${n}` },
    spec: { podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`] },
    status: {
      addresses: [],
      conditions: [],
      network: { underlayAddress, vtepMac: '02:00:00:00:00:02', mtuBytes: 1450, ...network },
    },
  }
}

function byHand(n: number, annotations: Record<string, string>): Node {
  const { status: _, ...rest } = node(n)
  return { ...rest, metadata: { name: `node${n}`, annotations } }
}

const onLink = (): boolean => true

/** Where each address leads. */
function ways(result: ReturnType<typeof surroundingsOf>, ...addresses: string[]): string[] {
  const table = new RouteTable(RouteTable.build(result.surroundings.routes))
  return addresses.map((address) => describeVerdict(table.lookup(...parseAddress(address))))
}

it('one peer more than there is room for is none, and the others stay', () => {
  const result = surroundingsOf(own, [node(1), node(2), node(3), node(4)], overlay, onLink, 2)
  expect(result.surroundings.peers.map(({ underlayAddress }) => underlayAddress)).toEqual(['192.0.2.2', '192.0.2.3'])
  expect(result.unusable).toEqual([{ node: 'node4', reason: expect.stringContaining('room for 2 other nodes') }])
  expect(ways(result, '10.244.3.9', '10.244.4.9')).toEqual(['peer 1', 'no-route'])
})

it('routes lead to the host, to peers, to named drops, and to the world', () => {
  const result = surroundingsOf(own, [node(1), node(3), node(2)], overlay, onLink)
  expect(result.surroundings.peers.map(({ underlayAddress }) => underlayAddress)).toEqual(['192.0.2.2', '192.0.2.3'])
  const addresses = [
    '10.244.1.1',
    '192.0.2.1',
    '10.244.1.9',
    '10.244.2.9',
    'fd00:10:244:3::1',
    '192.0.2.3',
    '10.244.7.1',
    '8.8.8.8',
  ]
  expect(ways(result, ...addresses)).toEqual([
    'host',
    'host',
    'no-such-pod',
    'peer 0',
    'peer 1',
    'peer 1',
    'no-route',
    'world',
  ])
  expect(result.directRoutes).toEqual([])
})

it('a node written by hand is a peer by its annotation, with a MAC from its range', () => {
  const { surroundings } = surroundingsOf(own, [byHand(2, { 'polder/underlay-address': '192.0.2.2' })], overlay, onLink)
  expect(surroundings.peers).toMatchObject([{ underlayAddress: '192.0.2.2', foreign: false, mtuBytes: 1450 }])
  expect(surroundings.peers[0]!.vtepMac).toBe(vtepMac(['10.244.2.0/24', 'fd00:10:244:2::/64']))
})

it('the smaller MTU of both ends counts', () => {
  const mtus = [1400, 1450, 8950].map((mtuBytes, i) => node(i + 2, { mtuBytes }))
  const { surroundings } = surroundingsOf(own, mtus, overlay, onLink)
  expect(surroundings.peers.map(({ mtuBytes }) => mtuBytes)).toEqual([1400, 1450, 1450])
})

describe('nodes that cannot be peers are named with the reason', () => {
  it.each([
    ['without an address', byHand(2, {}), 'has not said its underlay address'],
    ['with no address at all', byHand(2, { 'polder/underlay-address': 'eth0' }), 'is no IP address'],
    ['of another family', node(2, { underlayAddress: '2001:db8::2' }), 'another family'],
    ['with our own address', node(2, { underlayAddress: '192.0.2.1' }), 'the same underlay address as node1'],
    ['with our range', { ...node(2), spec: { podCIDRs: ['10.244.1.128/25'] } }, 'overlaps with 10.244.1.0/24 of node1'],
  ] as [string, Node, string][])('%s', (_, bad, reason) => {
    const { surroundings, unusable } = surroundingsOf(own, [bad, node(3)], overlay, onLink)
    expect(surroundings.peers.length).toBe(1)
    expect(unusable).toMatchObject([{ node: 'node2', reason: expect.stringContaining(reason) }])
  })
})

describe('direct routes', () => {
  const both = { underlayAddresses: ['192.0.2.2', '2001:db8::2'] }
  const auto = { ...overlay, encapsulation: 'auto' as const }
  const direct = ['10.244.2.9', 'fd00:10:244:2::9', '192.0.2.2']

  it.each([
    ['both ends allow it', auto, node(2, { ...both, encapsulation: 'auto' }), onLink, 'direct 0', 'direct 0'],
    ['none and auto agree', auto, node(2, { ...both, encapsulation: 'none' }), onLink, 'direct 0', 'direct 0'],
    ['the other end wants VXLAN', auto, node(2, both), onLink, 'peer 0', 'peer 0'],
    ['we want VXLAN', overlay, node(2, { ...both, encapsulation: 'none' }), onLink, 'peer 0', 'peer 0'],
    [
      'a router is between',
      auto,
      node(2, { ...both, encapsulation: 'auto' }),
      (): boolean => false,
      'peer 0',
      'peer 0',
    ],
    ['one family has no next hop', auto, node(2, { encapsulation: 'auto' }), onLink, 'direct 0', 'peer 0'],
  ] as const)('%s', (_, settings, peer, isOnLink, v4, v6) => {
    const result = surroundingsOf(own, [peer], settings, isOnLink)
    expect(ways(result, ...direct)).toEqual([v4, v6, v4])
    const expected = [v4, v6].flatMap((way, i) =>
      way === 'direct 0' ? [{ dst: peer.spec.podCIDRs[i], via: both.underlayAddresses[i] }] : [],
    )
    expect(result.directRoutes).toEqual(expected)
  })

  it('what is wholly direct has the whole MTU, anything in VXLAN what fits there', () => {
    const large = { ...own, mtuBytes: 1500 }
    const mtu = (peer: Node): number => surroundingsOf(large, [peer], auto, onLink).surroundings.peers[0]!.mtuBytes
    expect(mtu(node(2, { ...both, encapsulation: 'none', mtuBytes: 1500 }))).toBe(1500)
    expect(mtu(node(2, { encapsulation: 'none', mtuBytes: 1500 }))).toBe(1450)
    expect(mtu(node(2, { mtuBytes: 1500 }))).toBe(1450)
  })
})

it('a node that is not ready gives way to a ready one with its underlay address', () => {
  const at = { underlayAddress: '192.0.2.2' }
  const ready = new Set(['node5'])
  const isReady = ({ metadata }: Node): boolean => ready.has(metadata.name)
  const nodes = [node(2), node(3), node(5, at), node(6, { underlayAddress: own.underlayAddress })]
  expect(supersededNodes(own, nodes, isReady)).toEqual(
    new Map([
      ['node2', 'node5'],
      ['node6', 'node1'],
    ]),
  )
  // Of two that live nobody can tell which is right: the clash is said, and stays.
  ready.add('node2')
  expect(supersededNodes(own, nodes, isReady)).toEqual(new Map([['node6', 'node1']]))
})
