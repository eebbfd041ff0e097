/**
 * Host ports on real nodes: a port of node1 that leads to a pod there, asked from everywhere.
 *
 *   client, 203.0.113.2 and .6 ── node1 [web, near] ══ node2 [far]      web answers with its name and who it sees
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { type Pod, TestCluster, type TestNode } from '../support/cluster.ts'
import {
  ask,
  askByDatagrams,
  converse,
  lastLineOf,
  linesOf,
  reaches,
  serveNamed,
  tally,
} from '../support/conversations.ts'
import { connect, Netns, until } from '../support/netns.ts'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const UDP_ECHO = new URL('../support/udp-echo.ts', import.meta.url).pathname

/** Node1's addresses on the link to the client, and the client's. */
const OUTSIDE = { v4: '203.0.113.1', v6: '2001:db8:1::1', second: '203.0.113.5' }
const CLIENT = { v4: '203.0.113.2', v6: '2001:db8:1::2', second: '203.0.113.6' }

let cluster: TestCluster
let one: TestNode
let two: TestNode
let client: Netns
let web: Pod
let near: Pod
let far: Pod

interface Mapping {
  hostPort: number
  containerPort?: number
  protocol?: string
  hostIP?: string
}

const wish = (...mappings: Mapping[]): object => ({
  runtimeConfig: { portMappings: mappings.map((mapping) => ({ containerPort: 8080, ...mapping })) },
})

beforeAll(async () => {
  cluster = await TestCluster.create(2)
  ;[one, two] = cluster.nodes as [TestNode, TestNode]
  await cluster.start()
  client = await Netns.create('client')
  await connect(client, 'eth0', one.netns, 'toclient')
  for (const [mine, theirs] of [
    [`${CLIENT.v4}/30`, `${OUTSIDE.v4}/30`],
    [`${CLIENT.second}/30`, `${OUTSIDE.second}/30`],
    [`${CLIENT.v6}/64`, `${OUTSIDE.v6}/64`],
  ] as const) {
    await client.run('ip', 'address', 'add', mine, 'dev', 'eth0')
    await one.netns.run('ip', 'address', 'add', theirs, 'dev', 'toclient')
  }
  web = await one.addPod('web', wish({ hostPort: 8088 }, { hostPort: 8088, protocol: 'udp' }))
  near = await one.addPod('near')
  far = await two.addPod('far')
  await serveNamed(web.netns, 'web')
}, 60_000)
afterAll(async () => {
  for (const pod of [web, near, far]) await pod?.netns[Symbol.asyncDispose]()
  await client?.[Symbol.asyncDispose]()
  await cluster?.[Symbol.asyncDispose]()
})

/** What the shim prints of an ADD that is refused. */
async function refusal(word: string, ...mappings: Mapping[]): Promise<{ code: number; msg: string; details: string }> {
  await using netns = await Netns.create(word)
  const environment = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: word, CNI_NETNS: netns.path, CNI_IFNAME: 'eth0' }
  const { code, stdout } = await one.shim(environment, wish(...mappings))
  expect([code, await netns.run('ip', '-br', 'link')]).toEqual([1, expect.not.stringContaining('eth0')])
  return JSON.parse(stdout)
}

describe('a host port', () => {
  it.each(['v4', 'v6'] as const)(
    'serves a client beyond the cluster over IP%s, which keeps its address',
    async (family) => {
      expect(await ask(client, OUTSIDE[family], 8088, 3)).toEqual(Array(3).fill(`web ${CLIENT[family]}`))
      const asker = askByDatagrams(client, OUTSIDE[family], 8088)
      await until(() => lastLineOf(asker) === `web ${CLIENT[family]}`)
      await asker.end()
    },
  )

  it('serves the node itself, also at 127.0.0.1, and the other node', async () => {
    for (const address of ['127.0.0.1', one.underlayAddress, OUTSIDE.v4, OUTSIDE.v6]) {
      expect([address, tally(await ask(one.netns, address, 8088))]).toEqual([address, ['web']])
    }
    expect(tally(await ask(two.netns, one.underlayAddress, 8088))).toEqual(['web'])
  })

  it('serves pods of both nodes by their own addresses, and the pod itself as the node', async () => {
    for (const pod of [near, far]) {
      expect(await ask(pod.netns, one.underlayAddress, 8088)).toEqual([`web ${pod.v4}`])
    }
    expect(await ask(web.netns, one.underlayAddress, 8088)).toEqual([`web ${one.underlayAddress}`])
    // An address of the node that polder does not know: through the host, which shows the pod as the node.
    expect(tally(await ask(near.netns, OUTSIDE.v6, 8088))).toEqual(['web'])
  })

  it('is no port of another node, and leaves other ports alone', async () => {
    expect(await ask(near.netns, two.underlayAddress, 8088)).toEqual(['ECONNREFUSED'])
    expect(await ask(client, OUTSIDE.v4, 8089)).toEqual(['ECONNREFUSED'])
  })

  it('carries datagrams of every size, in fragments too', async () => {
    const pod = await one.addPod('echo', wish({ hostPort: 8090, containerPort: 7007, protocol: 'udp' }))
    const server = pod.netns.spawn(NODE, UDP_ECHO, 'serve', '::', '7007')
    for (const family of ['v4', 'v6'] as const) {
      await until(async () => {
        const said = await client.run(NODE, UDP_ECHO, 'ask', OUTSIDE[family], '8090')
        const { lost, changed } = JSON.parse(said)
        return lost.length === 0 && changed.length === 0
      }, 30_000)
    }
    await server.end()
    await one.removePod(pod)
  }, 60_000)
})

describe('a host port at one address', () => {
  it('is another than the same port at another address, and comes before none', async () => {
    const first = await one.addPod('first', wish({ hostPort: 8070, hostIP: OUTSIDE.v4 }))
    const second = await one.addPod('second', wish({ hostPort: 8070, hostIP: OUTSIDE.second }))
    const inner = await one.addPod('inner', wish({ hostPort: 8070, hostIP: '127.0.0.1' }))
    const six = await one.addPod('six', wish({ hostPort: 8070, hostIP: '::' }))
    const own = await one.addPod('own', wish({ hostPort: 8070, hostIP: one.underlayAddress }))
    const pods = { first, second, inner, six, own }
    for (const [name, pod] of Object.entries(pods)) await serveNamed(pod.netns, name)
    expect(await ask(client, OUTSIDE.v4, 8070)).toEqual([`first ${CLIENT.v4}`])
    expect(await ask(client, OUTSIDE.second, 8070)).toEqual([`second ${CLIENT.second}`])
    expect(await ask(client, OUTSIDE.v6, 8070)).toEqual([`six ${CLIENT.v6}`])
    expect(tally(await ask(one.netns, '127.0.0.1', 8070))).toEqual(['inner'])
    expect(await ask(far.netns, one.underlayAddress, 8070)).toEqual([`own ${far.v4}`])
    expect(await refusal('third', { hostPort: 8070 })).toMatchObject({ code: 106, msg: /host port 8070\/TCP is taken/ })
    for (const pod of Object.values(pods)) await one.removePod(pod)
  }, 60_000)
})

describe('a host port that is taken', () => {
  it('by another pod is refused, and says whose it is', async () => {
    const { code, msg, details } = await refusal('rival', { hostPort: 8088, hostIP: OUTSIDE.v4 })
    expect(msg).toBe(`host port ${OUTSIDE.v4}:8088/TCP is taken: container ${web.containerId} has 8088/TCP`)
    expect([code, details]).toEqual([106, expect.stringContaining('choose another hostPort')])
  })

  it('by a process of the host, which goes on to hear its clients', async () => {
    const server = await serveNamed(one.netns, 'host', 8060)
    const { code, msg } = await refusal('thief', { hostPort: 8060 })
    expect(msg).toMatch(
      new RegExp(`^host port 8060/TCP is taken: \\S+ \\(process ${server.pid}\\) listens at ::, port 8060$`),
    )
    expect(code).toBe(106)
    expect(tally(await ask(client, OUTSIDE.v4, 8060))).toEqual(['host'])
    await server.end()
    await one.removePod(await one.addPod('heir', wish({ hostPort: 8060 })))
  })
})

describe('with its attachment', () => {
  it('a host port is recorded, checked, and gone: closed at once, and free for another', async () => {
    const mapping = { hostPort: 8050, protocol: 'TCP' }
    const pod = await one.addPod('passing', wish(mapping))
    await serveNamed(pod.netns, 'passing')
    const asker = converse(client, OUTSIDE.v4, 8050)
    await until(() => linesOf(asker) > 3)
    const list = await one.get<Attachment[]>('/v1/attachments')
    const recorded = list.find(({ containerId }) => containerId === pod.containerId)
    expect(recorded?.hostPorts).toEqual([{ ...mapping, containerPort: 8080, virtualPort: 8050 }])
    const result = {
      interfaces: [{ name: 'eth0', sandbox: pod.netns.path }],
      ips: [{ address: `${pod.v4}/32` }, { address: `${pod.v6}/128` }],
    }
    const check = (...mappings: Mapping[]): Promise<string> =>
      one.cni('CHECK', pod.containerId, pod.netns.path, { ...wish(...mappings), prevResult: result })
    expect(await check(mapping)).toBe('')
    await expect(check({ hostPort: 8051 })).rejects.toThrow('host port 8051/TCP does not lead to 8080 of the pod')
    await one.netns.run('nft', 'flush', 'ruleset')
    expect(await check(mapping)).toBe('')
    expect(await one.netns.run('nft', 'list', 'table', 'inet', 'polder')).toMatch(
      /tcp \. 8050 : 10\.244\.\d\.0 \. 8050/,
    )
    await one.removePod(pod)
    expect(await ask(client, OUTSIDE.v4, 8050)).toEqual(['ECONNREFUSED'])
    await until(() => asker.stdout.includes('ECONNRESET'))
    const next = await one.addPod('next', wish(mapping))
    await serveNamed(next.netns, 'next')
    await reaches(client, OUTSIDE.v4, 8050, /^next /)
    await one.removePod(next)
  }, 60_000)

  it('datagrams go to the next pod that has the port', async () => {
    const mapping = { hostPort: 8055, protocol: 'udp' }
    const first = await one.addPod('udpa', wish(mapping))
    await serveNamed(first.netns, 'udpa')
    const asker = askByDatagrams(client, OUTSIDE.v4, 8055)
    await until(() => lastLineOf(asker).startsWith('udpa '))
    await one.removePod(first)
    await until(() => lastLineOf(asker) === 'ECONNREFUSED')
    const next = await one.addPod('udpb', wish(mapping))
    await serveNamed(next.netns, 'udpb')
    await until(() => lastLineOf(asker) === `udpb ${CLIENT.v4}`, 10_000)
    await asker.end()
    await one.removePod(next)
  }, 60_000)

  it('GC takes it away with what the runtime does not know any more', async () => {
    const pod = await one.addPod('lost', wish({ hostPort: 8056 }))
    const valid = [web, near].map(({ containerId }) => ({ containerID: containerId, ifname: 'eth0' }))
    const environment = { CNI_COMMAND: 'GC', CNI_PATH: one.cniBinDir }
    const { code, stdout } = await one.shim(environment, {
      cniVersion: '1.1.0',
      'cni.dev/valid-attachments': valid,
    })
    expect([code, stdout]).toEqual([0, ''])
    await until(async () => !(await one.netns.run('nft', 'list', 'table', 'inet', 'polder')).includes('8056'))
    await pod.netns[Symbol.asyncDispose]()
    await one.removePod(await one.addPod('found', wish({ hostPort: 8056 })))
  })
})

describe('connections to a host port go on', () => {
  it('while polderd is killed, restarted and taken over, with not a line lost', async () => {
    const pod = await one.addPod(
      'pinned',
      wish({ hostPort: 8040, hostIP: OUTSIDE.v4 }, { hostPort: 8040, hostIP: '::' }),
    )
    await serveNamed(pod.netns, 'pinned')
    const conversations = [
      converse(client, OUTSIDE.v4, 8040),
      converse(client, OUTSIDE.v6, 8040),
      converse(client, OUTSIDE.v4, 8088),
      converse(far.netns, one.underlayAddress, 8088),
    ]
    const goOn = async (): Promise<void> => {
      const before = conversations.map(linesOf)
      await until(() => conversations.every((each, i) => linesOf(each) > before[i]! + 10), 20_000)
    }
    await goOn()
    for (let i = 0; i < 3; i++) {
      await one.kill()
      await one.start()
      await goOn()
    }
    await one.stop()
    await one.start()
    await goOn()
    expect(await one.takeOver()).toBe(0)
    await goOn()
    await Promise.all(conversations.map((each) => each.end()))
    expect(await ask(client, OUTSIDE.v4, 8040)).toEqual([`pinned ${CLIENT.v4}`])
    expect(await refusal('late', { hostPort: 8088 })).toMatchObject({ code: 106 })
    await one.removePod(pod)
    expect(await ask(client, OUTSIDE.v4, 8040)).toEqual(['ECONNREFUSED'])
  }, 120_000)
})
