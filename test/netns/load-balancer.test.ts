/**
 * Services from beyond the cluster, on three real nodes: addresses that a node answers for on the link, and another when
 * that one dies; addresses that are routed to the nodes; who may come, and where nobody is.
 *
 *   client ──┬ bridge `underlay`, 198.18.0.0/24 and fd00:198:18::/64
 *            ├── node1 [a]          a, b, c answer with their name and whom they see
 *            ├── node2 [b]          strict reverse-path filters everywhere
 *            └── node3 [c, near]
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { refusalOf, type Service, type ServiceSpec } from '../../daemon/cluster/service-objects.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import { ask, askByDatagrams, lastLineOf, reaches, serveNamed, tally } from '../support/conversations.ts'
import { Netns, type NetnsProcess, until } from '../support/netns.ts'

const POLDER = new URL('../../scripts/polder', import.meta.url).pathname
const POOLS = '198.18.0.200-198.18.0.203,fd00:198:18::200/126'
const BALANCED = { v4: '198.18.0.200', v6: 'fd00:198:18::200' }
const CLIENT = { v4: '198.18.0.100', v6: 'fd00:198:18::100' }
const FAMILIES = ['v4', 'v6'] as const

let cluster: TestCluster
let nodes: TestNode[]
let client: Netns
const pods: Record<string, Pod> = {}
const servers: NetnsProcess[] = []

beforeAll(async () => {
  cluster = await TestCluster.create(3)
  nodes = cluster.nodes
  for (const [i, { netns }] of nodes.entries()) {
    await netns.run('ip', 'address', 'add', `fd00:198:18::${i + 1}/64`, 'dev', 'underlay')
    await netns.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1')
  }
  client = await Netns.create('client')
  const { underlay } = cluster
  await underlay.run('ip', 'link', 'add', 'toclient', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', client.name)
  await underlay.run('ip', 'link', 'set', 'toclient', 'master', 'underlay', 'up')
  await client.run('ip', 'link', 'set', 'eth0', 'up')
  await client.run('ip', 'address', 'add', `${CLIENT.v4}/24`, 'dev', 'eth0')
  await client.run('ip', 'address', 'add', `${CLIENT.v6}/64`, 'dev', 'eth0')
  await client.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1')
  await cluster.start('--load-balancer-pools', POOLS)
  for (const [i, word] of [0, 1, 2, 2].map((i, j) => [i, ['a', 'b', 'c', 'near'][j]!] as const)) {
    pods[word] = await nodes[i]!.addPod(word)
  }
  servers.push(...(await Promise.all(['a', 'b', 'c'].map((word) => serveNamed(pods[word]!.netns, word)))))
  serve('web', { type: 'LoadBalancer', loadBalancerIP: BALANCED.v4 })
  await until(async () => addressesOf(await serviceOf('web')).length === 2, 20_000)
  for (const family of FAMILIES) await reaches(client, BALANCED[family], 80, /^[abc] /)
}, 90_000)
afterAll(async () => {
  await Promise.all(servers.map((server) => server.end()))
  for (const pod of Object.values(pods)) await pod.netns[Symbol.asyncDispose]()
  await client?.[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

function write(path: string, object: object): void {
  const file = join(cluster.folder, 'cluster', path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, stringify(object))
}

/** The Service `name` of both families, port 80 over TCP and UDP, with these pods behind it. */
function serve(name: string, spec: Partial<ServiceSpec>, words = ['a', 'b', 'c']): void {
  // Of both families, with the same last number.
  const { loadBalancerIP: wish } = spec
  const wishes = wish === undefined ? '' : `${wish},${wish.replace('198.18.0.', 'fd00:198:18::')}`
  const ports = (['TCP', 'UDP'] as const).map((protocol) => ({
    name: protocol.toLowerCase(),
    port: 80,
    targetPort: 8080,
    protocol,
  }))
  write(`services/default/${name}.yaml`, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, annotations: { 'polder/load-balancer-ips': wishes } },
    spec: { ipFamilyPolicy: 'RequireDualStack', ports, ...spec },
  })
  for (const [family, addressType] of [
    ['v4', 'IPv4'],
    ['v6', 'IPv6'],
  ] as const) {
    write(`endpointslices/default/${name}-${family}.yaml`, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-${family}`, labels: { 'kubernetes.io/service-name': name } },
      addressType,
      ports: ports.map(({ name: port, protocol }) => ({ name: port, port: 8080, protocol })),
      endpoints: words.map((word) => ({
        addresses: [pods[word]![family]],
        nodeName: `node${'abc'.indexOf(word) + 1}`,
        targetRef: { kind: 'Pod', namespace: 'default', name: word, uid: `uid-${word}` },
      })),
    })
  }
}

function remove(name: string): void {
  for (const path of [
    `services/default/${name}`,
    `endpointslices/default/${name}-v4`,
    `endpointslices/default/${name}-v6`,
  ])
    rmSync(join(cluster.folder, 'cluster', `${path}.yaml`))
}

/** From a node whose polderd runs. */
const serviceOf = (name: string): Promise<Service> => running().get<Service>(`/v1/objects/Service/default/${name}`)
const running = (): TestNode => nodes.find((node) => node.running)!
const addressesOf = ({ status }: Service): string[] => status?.loadBalancer?.ingress.map(({ ip }) => ip) ?? []
const polder = (...words: string[]): Promise<string> =>
  running().netns.run(POLDER, '--socket', running().socket, ...words)

/** The nodes whose lease says that they have the address. */
function holders(address: string): string[] {
  const folder = join(cluster.folder, 'cluster/leases')
  const files = readdirSync(folder).filter((file) => /^node\d\.yaml$/.test(file))
  const holding = files.filter((file) =>
    JSON.parse(readFileSync(join(folder, file), 'utf8')).addresses.includes(address),
  )
  return holding.map((file) => file.replace('.yaml', '')).sort()
}

async function macOf(node: TestNode): Promise<string> {
  const [link] = await node.netns.json<{ address: string }[]>('ip', '-j', 'link', 'show', 'underlay')
  return link!.address
}

/** Who answers for the address now, asked several times by one who does not know: MACs, each once. */
async function answering(address: string): Promise<string[]> {
  const family = address.includes(':') ? '-6' : '-4'
  const macs = new Set<string>()
  for (let i = 0; i < 3; i++) {
    await client.run('ip', family, 'neighbour', 'flush', 'dev', 'eth0')
    await ask(client, address, 80)
    const found = await client.json<{ dst: string; lladdr?: string }[]>(
      'ip',
      '-j',
      family,
      'neighbour',
      'show',
      'dev',
      'eth0',
    )
    for (const { dst, lladdr } of found) if (dst === address && lladdr !== undefined) macs.add(lladdr)
  }
  return [...macs]
}

/** Whoever asks is answered by the one node that has the lease; resolves to that one. On a busy machine it may move meanwhile. */
async function answeredByHolder(address: string): Promise<TestNode> {
  const found = await until(async () => {
    const [holder, ...more] = holders(address)
    const node = nodes.find(({ name }) => name === holder)
    const macs = await answering(address)
    if (node === undefined || more.length > 0) return undefined
    return macs.join() === (await macOf(node)) ? node : undefined
  }, 60_000)
  return found!
}

/** What passes on the client's link, until it is ended. */
async function listen(filter: string): Promise<NetnsProcess> {
  const tcpdump = client.spawn('tcpdump', '-lnei', 'eth0', filter)
  await until(() => tcpdump.stderr.includes('listening on'), 20_000)
  return tcpdump
}

describe.each(FAMILIES)('a load balancer address over IP%s', (family) => {
  it('leads a client on the link to every endpoint, which sees the address of the client', async () => {
    const answers = await ask(client, BALANCED[family], 80, 40)
    expect(tally(answers)).toEqual(['a', 'b', 'c'])
    expect(new Set(answers.map((line) => line.split(' ')[1]))).toEqual(new Set([CLIENT[family]]))
  }, 30_000)

  it('leads pods and nodes there, too', async () => {
    for (const netns of [pods['near']!.netns, ...nodes.map((node) => node.netns)]) {
      expect(tally(await ask(netns, BALANCED[family], 80, 40))).toEqual(['a', 'b', 'c'])
    }
  }, 60_000)

  it('carries datagrams', async () => {
    const asker = askByDatagrams(client, BALANCED[family], 80)
    await until(() => /^[abc] /.test(lastLineOf(asker)), 20_000)
    await asker.end()
  }, 30_000)

  it('is answered for by one node, the one that has the lease', async () => {
    await answeredByHolder(BALANCED[family])
  }, 90_000)
})

it('shows in what the command prints', async () => {
  const list = await polder('get', 'services')
  expect(list).toMatch(/^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\)/m)
  expect(list).toMatch(/^web +LoadBalancer +10\.96\.\S+ +198\.18\.0\.200,fd00:198:18::200 +80:3\d{4}\/TCP/m)
  const text = await polder('describe', 'service', 'web')
  expect(text).toMatch(/Load Balancer IPs: +198\.18\.0\.200/)
})

describe('the node that answers', () => {
  /** Asks every 50 ms, each time with a new connection; prints the time of each that was answered. */
  const TICK = `const [address] = process.argv.slice(1)
const ask = () => {
  const socket = require('node:net').connect(80, address)
  socket.setTimeout(400, () => socket.destroy())
  socket.once('data', (data) => { console.log(Date.now() + ' ' + String(data).trim()); socket.destroy() }).on('error', () => {})
}
setInterval(ask, 50)`
  const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname

  const gapMs = (asker: NetnsProcess): number => {
    const times = asker.stdout
      .trim()
      .split('\n')
      .map((line) => Number(line.split(' ')[0]))
    return Math.max(...times.slice(1).map((time, i) => time - times[i]!))
  }

  it.each(FAMILIES)(
    'is another within seconds when polderd is killed, and tells the link so (IP%s)',
    async (family) => {
      const address = BALANCED[family]
      const before = await answeredByHolder(address)
      const said = await listen(family === 'v4' ? 'arp' : 'icmp6 and ip6[40] == 136')
      const asker = client.spawn(NODE, '-e', TICK, address)
      await until(() => asker.stdout.split('\n').length > 10, 20_000)
      await before.kill()
      await until(() => holders(address).length === 1 && holders(address)[0] !== before.name, 30_000)
      const after = nodes.find(({ name }) => name === holders(address)[0])!
      const lines = asker.stdout.split('\n').length
      await until(() => asker.stdout.split('\n').length > lines + 10, 30_000)
      await asker.end()
      console.log(
        `load balancer address of IP${family}: without an answer for ${gapMs(asker)} ms while its node was killed`,
      )
      expect(gapMs(asker)).toBeLessThan(30_000)
      const mac = await macOf(after)
      await until(
        () => said.stdout.split('\n').some((line) => line.includes(`${mac} > `) && isGratuitous(line, address)),
        20_000,
      )
      await said.end()
      await answeredByHolder(address)
      // The one that comes back takes nothing from who has it.
      await before.start('--load-balancer-pools', POOLS)
      expect((await answeredByHolder(address)).name).not.toBe(before.name)
      await reaches(client, address, 80, /^[abc] /)
    },
    120_000,
  )

  const isGratuitous = (line: string, address: string): boolean =>
    address.includes(':')
      ? line.includes('33:33:00:00:00:01') && line.includes(`tgt is ${address}`)
      : line.includes('ff:ff:ff:ff:ff:ff') &&
        [`Announcement ${address}`, `who-has ${address} tell ${address}`].some((words) => line.includes(words))

  it('stays the same through a takeover', async () => {
    const address = BALANCED.v4
    // A machine that is busy beyond measure may let a lease run out.
    for (let left = 3; left > 0; left--) {
      const before = await answeredByHolder(address)
      expect(await before.takeOver('--load-balancer-pools', POOLS)).toBe(0)
      await reaches(client, address, 80, /^[abc] /)
      if ((await answeredByHolder(address)) === before) return
    }
    throw new Error('three takeovers lost the address to another node')
  }, 180_000)

  it('is silent while it is stopped, and holds nothing when it goes on after others have taken over', async () => {
    const address = BALANCED.v4
    const node = await answeredByHolder(address)
    process.kill(node.pid, 'SIGSTOP')
    try {
      await until(() => holders(address).length === 1 && holders(address)[0] !== node.name, 30_000)
    } finally {
      process.kill(node.pid, 'SIGCONT')
    }
    const said = await listen(`arp and ether src ${await macOf(node)} and arp[6:2] == 2`)
    const after = await answeredByHolder(address)
    await said.end()
    if (after !== node) expect(said.stdout).not.toContain(`${address} is-at`)
  }, 120_000)
})

describe.each(FAMILIES)('who may come, over IP%s', (family) => {
  const guarded = { v4: '198.18.0.201', v6: 'fd00:198:18::201' }

  it('those of loadBalancerSourceRanges; others are dropped, pods too', async () => {
    const loadBalancerSourceRanges = [`${CLIENT.v4}/32`, `${CLIENT.v6}/128`]
    serve('guarded', { type: 'LoadBalancer', loadBalancerIP: guarded.v4, loadBalancerSourceRanges })
    await reaches(client, guarded[family], 80, /^[abc] /)
    const stranger = family === 'v4' ? '198.18.0.101/24' : 'fd00:198:18::101/64'
    await client.run('ip', 'address', 'add', stranger, 'dev', 'eth0')
    const bound = ['--interface', stranger.split('/')[0]!]
    const url = `http://${family === 'v4' ? guarded.v4 : `[${guarded.v6}]`}/`
    const asked = await client.attempt('curl', '-sg', '--max-time', '2', ...bound, url)
    expect(asked.code).toBe(28)
    const pod = await pods['near']!.netns.attempt('curl', '-sg', '--max-time', '2', url)
    expect(pod.code).toBe(28)
    await client.run('ip', 'address', 'delete', stranger, 'dev', 'eth0')
    remove('guarded')
  }, 60_000)
})

describe.each(FAMILIES)('externalIPs over IP%s', (family) => {
  const routed = { v4: '203.0.113.50', v6: '2001:db8:5::50' }

  it('serve where they are routed to a node, and where they are the node’s own', async () => {
    const own = family === 'v4' ? nodes[1]!.underlayAddress : 'fd00:198:18::2'
    serve('external', { externalIPs: [routed.v4, routed.v6, nodes[1]!.underlayAddress, 'fd00:198:18::2'] })
    const flag = family === 'v4' ? '-4' : '-6'
    const via = family === 'v4' ? nodes[0]!.underlayAddress : 'fd00:198:18::1'
    await client.run('ip', flag, 'route', 'replace', routed[family], 'via', via)
    for (const address of [routed[family], own]) {
      await reaches(client, address, 80, /^[abc] /)
      const answers = await ask(client, address, 80, 40)
      expect([address, tally(answers)]).toEqual([address, ['a', 'b', 'c']])
      expect(new Set(answers.map((line) => line.split(' ')[1]))).toEqual(new Set([CLIENT[family]]))
      for (const netns of [pods['near']!.netns, ...nodes.map((node) => node.netns)]) {
        await reaches(netns, address, 80, /^[abc] /)
      }
    }
    expect(await polder('get', 'services')).toMatch(/^external +ClusterIP +\S+ +203\.0\.113\.50,/m)
    // Nobody says on the link that he has it.
    expect(holders(routed[family])).toEqual([])
    remove('external')
  }, 90_000)
})

describe('the traffic policy Local', () => {
  const local = { v4: '198.18.0.202', v6: 'fd00:198:18::202' }
  interface Health {
    service: { namespace: string; name: string }
    localEndpoints: number
    serviceProxyHealthy: boolean
  }
  const healthOf = async (address: string, port: number): Promise<[number, Health]> => {
    const said = await client.run('curl', '-sg', '-w', '\n%{http_code}', `http://${address}:${port}/healthz`)
    const [body = '', code] = said.split('\n')
    return [Number(code), JSON.parse(body)]
  }

  it('lets a node with an endpoint answer, leads outsiders to it alone and others to all; health checks say who has one', async () => {
    serve('local', { type: 'LoadBalancer', externalTrafficPolicy: 'Local', loadBalancerIP: local.v4 }, ['b'])
    for (const family of FAMILIES) {
      await until(() => holders(local[family]).join() === 'node2', 20_000)
      await reaches(client, local[family], 80, new RegExp(`^b ${CLIENT[family]}$`))
    }
    const port = (await serviceOf('local')).spec.healthCheckNodePort!
    const service = { namespace: 'default', name: 'local' }
    await until(async () => (await healthOf(nodes[1]!.underlayAddress, port))[0] === 200, 20_000)
    for (const [i, found] of [0, 1, 0].entries()) {
      for (const address of [nodes[i]!.underlayAddress, `[fd00:198:18::${i + 1}]`]) {
        const answer = { service, localEndpoints: found, serviceProxyHealthy: true }
        expect(await healthOf(address, port)).toEqual([found === 0 ? 503 : 200, answer])
      }
    }
    serve('local', { type: 'LoadBalancer', externalTrafficPolicy: 'Local', loadBalancerIP: local.v4 }, ['a', 'c'])
    for (const family of FAMILIES) {
      await until(() => /^node[13]$/.test(holders(local[family]).join()), 20_000)
      await reaches(client, local[family], 80, /^[ac] /)
      await until(async () => {
        const { name } = await answeredByHolder(local[family])
        return tally(await ask(client, local[family], 80, 20)).join() === (name === 'node1' ? 'a' : 'c')
      }, 60_000)
      for (const netns of [pods['near']!.netns, nodes[1]!.netns]) {
        expect(tally(await ask(netns, local[family], 80, 40))).toEqual(['a', 'c'])
      }
    }
    await until(async () => (await healthOf(nodes[1]!.underlayAddress, port))[0] === 503, 20_000)
    await nodes[0]!.kill()
    await nodes[0]!.start('--load-balancer-pools', POOLS)
    await until(async () => (await healthOf(nodes[0]!.underlayAddress, port))[0] === 200, 20_000)
    expect(await nodes[0]!.takeOver('--load-balancer-pools', POOLS)).toBe(0)
    expect((await healthOf(nodes[0]!.underlayAddress, port))[0]).toBe(200)
  }, 120_000)

  it('without any endpoint refuses at once, on every kind of address', async () => {
    const externalIPs = ['203.0.113.60', '2001:db8:5::60', nodes[1]!.underlayAddress, 'fd00:198:18::2']
    serve('local', { type: 'LoadBalancer', externalTrafficPolicy: 'Local', loadBalancerIP: local.v4, externalIPs }, [])
    await client.run('ip', '-4', 'route', 'replace', '203.0.113.60', 'via', nodes[0]!.underlayAddress)
    await client.run('ip', '-6', 'route', 'replace', '2001:db8:5::60', 'via', 'fd00:198:18::1')
    for (const address of [...Object.values(local), ...externalIPs]) {
      await reaches(client, address, 80, /^ECONNREFUSED$/)
      const began = performance.now()
      expect([address, await ask(client, address, 80, 10)]).toEqual([address, Array(10).fill('ECONNREFUSED')])
      expect(performance.now() - began).toBeLessThan(10_000)
      const asker = askByDatagrams(client, address, 80)
      await until(() => lastLineOf(asker) === 'ECONNREFUSED', 20_000)
      await asker.end()
    }
    remove('local')
  }, 120_000)
})

describe('addresses that cannot be had', () => {
  it('are told on the object and in the log, and harm nobody', async () => {
    const outside = { type: 'LoadBalancer' as const, loadBalancerIP: '192.0.2.9' }
    serve('outside', outside)
    serve('thief', { type: 'LoadBalancer', loadBalancerIP: BALANCED.v4 })
    await until(async () => refusalOf(await serviceOf('thief')) !== undefined, 20_000)
    await until(async () => refusalOf(await serviceOf('outside')) !== undefined, 20_000)
    expect(await polder('describe', 'service', 'thief')).toContain(
      `${BALANCED.v4} is the load balancer address of Service default/web: choose another, or none`,
    )
    expect(await polder('describe', 'service', 'outside')).toContain('192.0.2.9 lies outside loadBalancerPools')
    const logs = (): string => nodes.map(({ log }) => log).join()
    await until(() => logs().includes('192.0.2.9 lies outside loadBalancerPools'), 20_000)
    expect(tally(await ask(client, BALANCED.v4, 80, 40))).toEqual(['a', 'b', 'c'])
    remove('outside')
    remove('thief')
  }, 60_000)

  it('a route to an address that somebody takes away comes back', async () => {
    const node = await answeredByHolder(BALANCED.v4)
    const { netns } = node
    await netns.run('ip', 'route', 'delete', BALANCED.v4, 'dev', 'polder0')
    await until(() => node.log.includes(`put back: route ${BALANCED.v4}/32 dev polder0`), 60_000)
    await until(async () => (await netns.run('ip', 'route', 'show', BALANCED.v4)).includes('polder0'), 60_000)
    await reaches(client, BALANCED.v4, 80, /^[abc] /)
  }, 120_000)
})

it('is answered for by nobody when every polderd is dead', async () => {
  for (const node of nodes) await node.kill()
  for (const family of FAMILIES) {
    await client.run('ip', family === 'v4' ? '-4' : '-6', 'neighbour', 'flush', 'dev', 'eth0')
    expect(await ask(client, BALANCED[family], 80)).toEqual(['EHOSTUNREACH'])
  }
}, 60_000)
