/**
 * Services on real nodes: three pods on two nodes behind one ClusterIP of each family, reached from pods and from the
 * nodes themselves, and behind a node port from a client beyond the cluster.
 *
 *   client ── node1 [near, a] ══ node2 [far, b, c]      a, b, c answer with their name and who they see
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import type { FlowsAnswer } from '../../daemon/api/types.ts'
import type { Service } from '../../daemon/cluster/service-objects.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { ask, askByDatagrams, converse, lastLineOf, reaches, serveNamed, tally } from '../support/conversations.ts'
import { connect, Netns, type NetnsProcess, until } from '../support/netns.ts'
import type { Transferred } from '../support/transfer-run.ts'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const TRANSFER = new URL('../support/transfer.ts', import.meta.url).pathname
const UDP_ECHO = new URL('../support/udp-echo.ts', import.meta.url).pathname
const POLDER = new URL('../../scripts/polder', import.meta.url).pathname

let cluster: TestCluster
let one: TestNode
let two: TestNode
const pods: Record<string, Pod> = {}
const servers: NetnsProcess[] = []
const clusterIPs: { v4: string; v6: string } = { v4: '', v6: '' }

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  ;[one, two] = cluster.nodes as [TestNode, TestNode]
  await cluster.start()
  for (const [node, word] of [
    [one, 'near'],
    [one, 'a'],
    [two, 'far'],
    [two, 'b'],
    [two, 'c'],
  ] as const) {
    pods[word] = await node.addPod(word)
  }
  servers.push(...(await Promise.all(['a', 'b', 'c'].map((word) => serveNamed(pods[word]!.netns, word)))))
  write('services/default/backend.yaml', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'backend' },
    spec: {
      type: 'NodePort',
      ipFamilyPolicy: 'RequireDualStack',
      selector: { app: 'backend' },
      ports: [
        { name: 'http', port: 80, targetPort: 8080, nodePort: 30_080 },
        { name: 'udp', port: 80, targetPort: 8080, nodePort: 30_080, protocol: 'UDP' },
      ],
    },
  })
  endpoints('a', 'b', 'c')
  await until(async () => (await backend()).status?.clusterIPs.length === 2)
  const [v4 = '', v6 = ''] = (await backend()).status!.clusterIPs
  Object.assign(clusterIPs, { v4, v6 })
  for (const netns of [one.netns, two.netns, pods['near']!.netns, pods['far']!.netns]) {
    for (const family of ['v4', 'v6'] as const) await reachesOne(netns, clusterIPs[family], 80)
  }
}, 60_000)
afterAll(async () => {
  await Promise.all(servers.map((server) => server.end()))
  for (const pod of Object.values(pods)) await pod.netns[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

function write(path: string, object: object): void {
  const file = join(cluster.folder, 'cluster', path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, stringify(object))
}

/** Who is behind `backend` from now on; `!b` terminates and still serves. */
function endpoints(...words: string[]): void {
  for (const [family, addressType] of [
    ['v4', 'IPv4'],
    ['v6', 'IPv6'],
  ] as const) {
    write(`endpointslices/default/backend-${family}.yaml`, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `backend-${family}`, labels: { 'kubernetes.io/service-name': 'backend' } },
      addressType,
      ports: [
        { name: 'http', port: 8080 },
        { name: 'udp', port: 8080, protocol: 'UDP' },
      ],
      endpoints: words.map((word) => {
        const name = word.replace('!', '')
        const terminating = word.startsWith('!')
        return {
          addresses: [pods[name]![family]],
          conditions: { ready: !terminating, serving: true, terminating },
          nodeName: name === 'a' ? 'node1' : 'node2',
          targetRef: { kind: 'Pod', namespace: 'default', name, uid: `uid-${name}` },
        }
      }),
    })
  }
}

interface ServeOptions {
  protocol?: string
  nodePort?: number
  clusterIPs?: string[]
}

/** The Service `name` at the same port on both families, with one endpoint. */
function serve(name: string, port: number, word: string, more: ServeOptions = {}): void {
  const { protocol = 'TCP', nodePort, clusterIPs = ['10.96.0.70', 'fd00:10:96::70'] } = more
  const ports = [{ port, protocol, ...(nodePort !== undefined && { nodePort }) }]
  const type = nodePort === undefined ? 'ClusterIP' : 'NodePort'
  const spec = { type, clusterIPs, ipFamilyPolicy: 'RequireDualStack', ports }
  write(`services/default/${name}.yaml`, { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec })
  for (const [family, addressType] of [
    ['v4', 'IPv4'],
    ['v6', 'IPv6'],
  ] as const) {
    const metadata = { name: `${name}-${family}`, labels: { 'kubernetes.io/service-name': name } }
    const endpoints = [{ addresses: [pods[word]![family]], nodeName: word === 'a' ? 'node1' : 'node2' }]
    const slice = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata,
      addressType,
      ports: [{ port, protocol }],
      endpoints,
    }
    write(`endpointslices/default/${name}-${family}.yaml`, slice)
  }
}

async function transferTo(
  server: Netns,
  client: Netns,
  address: string,
  bytes: number,
): Promise<[Transferred, Transferred]> {
  const listening = server.spawn(NODE, TRANSFER, 'listen', '::', '7000', String(bytes))
  await until(() => listening.stderr.includes('listening'))
  // Until the data path knows the endpoint the Service refuses, or leads to one that nobody listens at.
  for (let left = 100; ; left--) {
    const { code, stdout } = await client.attempt(NODE, TRANSFER, 'connect', address, '7000', String(bytes))
    if (code === 0 && stdout !== '') {
      await listening.ended
      return [JSON.parse(listening.stdout), JSON.parse(stdout)]
    }
    if (left === 0) throw new Error('the transfer was refused')
  }
}

const backend = (): Promise<Service> => one.get<Service>('/v1/objects/Service/default/backend')

const reachesOne = (netns: Netns, address: string, port: number): Promise<void> =>
  reaches(netns, address, port, /^[abc] /)

describe.each(['v4', 'v6'] as const)('a ClusterIP over IP%s', (family) => {
  it.each(['near', 'far'])(
    'spreads connections of pod %s over all endpoints, which see its own address',
    async (word) => {
      const answers = await ask(pods[word]!.netns, clusterIPs[family], 80, 40)
      expect(tally(answers)).toEqual(['a', 'b', 'c'])
      expect(new Set(answers.map((line) => line.split(' ')[1]))).toEqual(new Set([pods[word]![family]]))
    },
    30_000,
  )

  it('is reached from the nodes themselves', async () => {
    for (const node of [one, two]) {
      expect(tally(await ask(node.netns, clusterIPs[family], 80, 40))).toEqual(['a', 'b', 'c'])
    }
  }, 30_000)

  it('leads a pod to itself, too, which then sees the Service', async () => {
    const answers = await ask(pods['a']!.netns, clusterIPs[family], 80, 40)
    expect(tally(answers)).toEqual(['a', 'b', 'c'])
    expect(answers.find((line) => line.startsWith('a '))).toBe(`a ${clusterIPs[family]}`)
  }, 30_000)

  it('carries connections past the death of both polderds', async () => {
    const clients = [pods['near']!, pods['far']!].map(({ netns }) => converse(netns, clusterIPs[family], 80))
    const lines = (): number[] => clients.map(({ stdout }) => stdout.split('\n').length)
    await until(() => lines().every((count) => count > 5))
    for (const node of [one, two]) {
      await node.kill()
      await node.start()
    }
    const before = lines()
    await until(() => lines().every((count, i) => count > before[i]! + 10), 20_000)
    for (const client of clients) {
      expect(client.stdout).not.toMatch(/closed|E[A-Z]+/)
      await client.end()
    }
  }, 60_000)

  it('without an endpoint refuses at once, also datagrams; with one again it serves again', async () => {
    const near = pods['near']!.netns
    const asker = askByDatagrams(near, clusterIPs[family], 80)
    await until(() => /^[abc] /.test(asker.stdout))
    endpoints()
    await reaches(near, clusterIPs[family], 80, /^ECONNREFUSED$/)
    const began = performance.now()
    expect(await ask(near, clusterIPs[family], 80, 20)).toEqual(Array(20).fill('ECONNREFUSED'))
    expect(performance.now() - began).toBeLessThan(10_000)
    expect(await ask(one.netns, clusterIPs[family], 80)).toEqual(['ECONNREFUSED'])
    await until(() => asker.stdout.includes('ECONNREFUSED'))
    endpoints('c')
    await until(() => lastLineOf(asker).startsWith('c '))
    await asker.end()
    await reachesOne(near, clusterIPs[family], 80)
    expect(tally(await ask(near, clusterIPs[family], 80, 10))).toEqual(['c'])
    endpoints('a', 'b', 'c')
    await reaches(near, clusterIPs[family], 80, /^[ab] /)
  }, 60_000)

  it('lets a connection to a terminating endpoint finish, and resets it once the endpoint is gone', async () => {
    endpoints('b')
    const near = pods['near']!.netns
    await until(async () => tally(await ask(near, clusterIPs[family], 80, 10)).join() === 'b')
    const client = converse(near, clusterIPs[family], 80)
    await until(() => client.stdout.split('\n').length > 3)
    endpoints('!b', 'c')
    await until(async () => tally(await ask(near, clusterIPs[family], 80, 10)).join() === 'c')
    const lines = client.stdout.split('\n').length
    await until(() => client.stdout.split('\n').length > lines + 10)
    endpoints('c')
    await until(() => client.stdout.includes('closed'))
    expect(client.stdout).toContain('ECONNRESET')
    endpoints('a', 'b', 'c')
    await reaches(near, clusterIPs[family], 80, /^[ab] /)
  }, 60_000)
})

it('an address that no Service has is silent, a port that its Service has not is refused', async () => {
  expect(await ask(pods['near']!.netns, clusterIPs.v4, 81)).toEqual(['ECONNREFUSED'])
  const { drops } = await one.get<{ drops: { reason: string }[] }>('/v1/counters')
  expect(drops.map(({ reason }) => reason)).toContain('no-such-service-port')
  await pods['near']!.netns.attempt('ping', '-c', '1', '-W', '1', '10.96.99.99')
  const after = await one.get<{ drops: { reason: string }[] }>('/v1/counters')
  expect(after.drops.map(({ reason }) => reason)).toContain('no-such-service')
})

it('flows show who was asked and who answers', async () => {
  const client = converse(pods['near']!.netns, clusterIPs.v4, 80)
  await until(() => client.stdout.split('\n').length > 3)
  const { flows } = await one.get<FlowsAnswer>(`/v1/flows?address=${clusterIPs.v4}&protocol=6`)
  await client.end()
  expect(flows.some(({ state }) => state === 'established')).toBe(true)
})

describe.each(['v4', 'v6'] as const)('through a ClusterIP over IP%s', (family) => {
  it('transfers in both directions at once arrive whole, to a pod of either node and to itself', async () => {
    for (const word of ['a', 'b', 'far']) {
      serve('transfer', 7000, word)
      const address = family === 'v4' ? '10.96.0.70' : 'fd00:10:96::70'
      for (const from of ['near', 'far'] as const) {
        const [server, client] = await transferTo(pods[word]!.netns, pods[from]!.netns, address, 20_000_000)
        expect([client.received, client.sent]).toEqual([server.sent, server.received])
      }
    }
  }, 120_000)

  it('datagrams of every size come back, in fragments too', async () => {
    const server = pods['b']!.netns.spawn(NODE, UDP_ECHO, 'serve', '::', '7007')
    serve('transfer', 7007, 'b', { protocol: 'UDP' })
    const address = family === 'v4' ? '10.96.0.70' : 'fd00:10:96::70'
    await until(async () => {
      const { lost, changed } = JSON.parse(await pods['near']!.netns.run(NODE, UDP_ECHO, 'ask', address, '7007'))
      return lost.length === 0 && changed.length === 0
    }, 30_000)
    await server.end()
  }, 60_000)

  it('traceroute ends at the Service, and sees nothing behind it', async () => {
    const address = clusterIPs[family]
    const printed = await pods['near']!.netns.run('traceroute', '-n', '-T', '-p', '80', '-q', '1', '-w', '2', address)
    const hops = printed
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/)[1])
    expect(hops.at(-1)).toBe(address)
    expect(hops.length).toBeLessThanOrEqual(3)
  }, 30_000)
})

describe('a node port', () => {
  it('serves a client beyond the cluster on each node, which keeps its address', async () => {
    for (const [i, node] of [one, two].entries()) {
      await using client = await Netns.create(`client${i}`)
      await connect(client, 'eth0', node.netns, 'toclient')
      for (const [mine, theirs] of [
        [`203.0.113.${i * 4 + 2}/30`, `203.0.113.${i * 4 + 1}/30`],
        [`2001:db8:1:${i + 1}::2/64`, `2001:db8:1:${i + 1}::1/64`],
      ] as const) {
        await client.run('ip', 'address', 'add', mine, 'dev', 'eth0')
        await node.netns.run('ip', 'address', 'add', theirs, 'dev', 'toclient')
        const [address, own] = [theirs.split('/')[0]!, mine.split('/')[0]!]
        await reachesOne(client, address, 30_080)
        const answers = await ask(client, address, 30_080, 40)
        expect(tally(answers)).toEqual(['a', 'b', 'c'])
        expect(new Set(answers.map((line) => line.split(' ')[1]))).toEqual(new Set([own]))
      }
    }
  }, 60_000)

  it('serves the node itself, by its own addresses and by 127.0.0.1, and the other node', async () => {
    for (const address of ['127.0.0.1', one.underlayAddress, two.underlayAddress]) {
      expect([address, tally(await ask(one.netns, address, 30_080, 40))]).toEqual([address, ['a', 'b', 'c']])
    }
  }, 30_000)

  it('serves pods, at the addresses of both nodes', async () => {
    for (const address of [one.underlayAddress, two.underlayAddress]) {
      expect([address, tally(await ask(pods['near']!.netns, address, 30_080, 40))]).toEqual([address, ['a', 'b', 'c']])
    }
  }, 30_000)

  it('carries datagrams of every size, in fragments too, from beyond the cluster', async () => {
    const server = pods['b']!.netns.spawn(NODE, UDP_ECHO, 'serve', '::', '7008')
    serve('echo', 7008, 'b', { protocol: 'UDP', nodePort: 30_708, clusterIPs: ['10.96.0.71', 'fd00:10:96::71'] })
    await using client = await Netns.create('sender')
    await connect(client, 'eth0', one.netns, 'tosender')
    for (const [mine, theirs] of [
      ['203.0.113.66/30', '203.0.113.65/30'],
      ['2001:db8:9::2/64', '2001:db8:9::1/64'],
    ] as const) {
      await client.run('ip', 'address', 'add', mine, 'dev', 'eth0')
      await one.netns.run('ip', 'address', 'add', theirs, 'dev', 'tosender')
      await until(async () => {
        const said = await client.run(NODE, UDP_ECHO, 'ask', theirs.split('/')[0]!, '30708')
        const { lost, changed } = JSON.parse(said)
        return lost.length === 0 && changed.length === 0
      }, 30_000)
    }
    await server.end()
  }, 60_000)

  it('keeps a client from beyond the cluster connected while both polderds are killed', async () => {
    await using client = await Netns.create('steady')
    await connect(client, 'eth0', one.netns, 'tosteady')
    await client.run('ip', 'address', 'add', '203.0.113.70/30', 'dev', 'eth0')
    await one.netns.run('ip', 'address', 'add', '203.0.113.69/30', 'dev', 'tosteady')
    const connections = Array.from({ length: 6 }, () => converse(client, '203.0.113.69', 30080))
    const lines = (): number[] => connections.map(({ stdout }) => stdout.split('\n').length)
    await until(() => lines().every((count) => count > 5), 10_000)
    for (const node of [one, two]) {
      await node.kill()
      await node.start()
    }
    const before = lines()
    await until(() => lines().every((count, i) => count > before[i]! + 10), 20_000)
    for (const connection of connections) {
      expect(connection.stdout).not.toMatch(/closed|E[A-Z]+/)
      await connection.end()
    }
  }, 60_000)

  it('comes back when somebody takes away the route, the rules or the setting that it needs', async () => {
    await one.netns.run('ip', 'route', 'delete', '10.96.0.0/16', 'dev', 'polder0')
    await one.netns.run('nft', 'delete', 'table', 'inet', 'polder')
    await one.netns.run('sysctl', '-qw', 'net.ipv4.conf.polder0.route_localnet=0')
    await reachesOne(one.netns, '127.0.0.1', 30_080)
    await reachesOne(one.netns, clusterIPs.v4, 80)
  }, 60_000)

  it('leaves other ports of the node alone', async () => {
    expect(await ask(pods['near']!.netns, one.underlayAddress, 30_081)).toEqual(['ECONNREFUSED'])
    const server = await serveNamed(one.netns, 'host')
    expect(tally(await ask(pods['near']!.netns, one.underlayAddress, 8080))).toEqual(['host'])
    await server.end()
  })
})

describe('Services that cannot have what they ask for', () => {
  it('say so on their object and in the log, and get what they can have later', async () => {
    const rival = (name: string, spec: object): void =>
      write(`services/default/${name}.yaml`, {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name },
        spec: { ports: [{ port: 80 }], ...spec },
      })
    rival('thief', { clusterIP: clusterIPs.v4 })
    rival('stray', { clusterIP: '192.0.2.7' })
    rival('porter', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] })
    const describeOf = (name: string): Promise<string> =>
      one.netns.run(POLDER, '--socket', one.socket, 'describe', 'service', name)
    await until(async () => /NotAllocated/.test(await describeOf('porter')))
    expect(await describeOf('thief')).toContain(`${clusterIPs.v4} is that of Service default/backend: choose another`)
    expect(await describeOf('stray')).toContain('192.0.2.7 lies outside the service ranges 10.96.0.0/16')
    expect(await describeOf('porter')).toContain('the node port 30080/TCP is that of Service default/backend')
    const problems = await one.netns.run(POLDER, '--socket', one.socket, 'get', 'problems')
    for (const name of ['thief', 'stray', 'porter']) expect(problems).toContain(`services/default/${name}.yaml`)
    await until(() => /192\.0\.2\.7 lies outside/.test(one.log + two.log))
    expect(tally(await ask(pods['near']!.netns, clusterIPs.v4, 80, 40))).toEqual(['a', 'b', 'c'])
    const list = await one.netns.run(POLDER, '--socket', one.socket, 'get', 'svc')
    expect(list).toMatch(/^thief +ClusterIP +<none> +<none> +80\/TCP +Refused/m)
    rmSync(join(cluster.folder, 'cluster/services/default/backend.yaml'))
    await until(
      async () => /Accepted/.test(await describeOf('thief')) && !/NotAllocated/.test(await describeOf('thief')),
      20_000,
    )
  }, 60_000)
})
