/**
 * The real shim, the real verbs, real namespaces:
 *
 *   build/polder-cni  ──Unix socket──  API ── createCni ── NodeAttachments  ──TUN eth0──  polder-t<pid>-…
 *
 * What stands for the data path keeps descriptors and moves no packet.
 */
import { once } from 'node:events'
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Api, type ApiOptions, createApi } from '../../daemon/api/server.ts'
import { NodeAttachments } from '../../daemon/attachments/attachments.ts'
import { type Cni, createCni } from '../../daemon/cni/cni.ts'
import { installConflist, removeConflist } from '../../daemon/cni/conflist.ts'
import { Spool } from '../../daemon/cni/spool.ts'
import { CNI_VERSIONS } from '../../daemon/cni/versions.ts'
import type { PodPorts } from '../../daemon/dataplane/pod-ports.ts'
import { FdStore } from '../../daemon/handover/fd-store.ts'
import { HostPorts } from '../../daemon/host-ports/host-ports.ts'
import { Ipam } from '../../daemon/ipam/ipam.ts'
import { closeFd } from '../../daemon/nic/nic.ts'
import { Netns, until } from '../support/netns.ts'
import { errorOf, runShim, type ShimAnswer } from '../support/shim.ts'

const SHIM = join(import.meta.dirname, '../../build/polder-cni')
const log = pino({ level: 'silent' })

let folder: string
let socket: string
let spoolFolder: string
let daemon: Daemon | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'polder-t'))
  socket = join(folder, 'polderd.sock')
  spoolFolder = join(folder, 'lib', 'spool')
})

afterEach(async () => {
  await daemon?.stop()
  daemon = undefined
  rmSync(folder, { recursive: true })
})

class Daemon {
  readonly ipam = new Ipam({ ranges: ['10.244.1.0/24', 'fd00:10:244:1::/64'], now: Date.now })
  readonly fds = new Map<number, number>()
  /** Ports that the data path does not let go of. */
  readonly refuses = new Set<number>()
  /** What the data path waits for before it lets go. */
  gate = Promise.resolve()
  /** CNI calls that came in. */
  calls = 0
  readonly attachments: NodeAttachments
  readonly spool: Spool
  readonly #api: Api

  private constructor() {
    let port = 3
    const ports: PodPorts = {
      addPod: async (fd) => {
        this.fds.set(port, fd)
        return port++
      },
      removePod: async (number) => {
        await this.gate
        if (this.refuses.has(number)) throw new Error(`port ${number} stays`)
        closeFd(this.fds.get(number)!)
        this.fds.delete(number)
      },
    }
    const { ipam } = this
    const fdStore = new FdStore(undefined, new Map(), log)
    this.attachments = new NodeAttachments({
      stateDir: folder,
      bootId: 'boot',
      ipam,
      ports,
      hostPorts: new HostPorts({ nodePortOwner: () => undefined }),
      fdStore,
      mtuBytes: 1450,
      log,
    })
    this.spool = new Spool({ folder: spoolFolder, attachments: this.attachments, log })
    const cni = createCni({
      attachments: this.attachments,
      spool: this.spool,
      addressesLeft: () => ipam.freeCount,
      statusFailsWhenFull: true,
      log,
    })
    // Of the API, only POST /cni is asked here.
    const counted: Cni = (headers, body) => {
      this.calls++
      return cni(headers, body)
    }
    this.#api = createApi({ socket, cni: counted, attachments: this.attachments, log } as unknown as ApiOptions)
  }

  /** In polderd's own order: what was attached, then the socket, then the spool. */
  static async start({ drains = true } = {}): Promise<Daemon> {
    daemon = new Daemon()
    await daemon.attachments.restore()
    await daemon.#api.start()
    if (drains) await daemon.spool.drain()
    return daemon
  }

  async stop(): Promise<void> {
    await this.#api.stop()
    for (const fd of this.fds.values()) closeFd(fd)
    this.fds.clear()
    await this.attachments.close()
  }
}

async function shim(environment: Record<string, string>, stdin: string): Promise<ShimAnswer> {
  const answer = await runShim(SHIM, { POLDER_SOCKET: socket, POLDER_SPOOL: spoolFolder, ...environment }, stdin)
  expect(answer.stderr).toBe('')
  return answer
}

const configOf = (cniVersion: string, extra: object = {}) =>
  JSON.stringify({ cniVersion, name: 'polder', type: 'polder-cni', ...extra })

function call(command: string, netns: string, { id = 'c1', version = '1.0.0', ...extra } = {}): Promise<ShimAnswer> {
  const environment = { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0' }
  return shim(environment, configOf(version, extra))
}

describe('the life of an attachment', () => {
  test.each(CNI_VERSIONS.map(({ version }) => version))('in CNI %s', async (version) => {
    await using pod = await Netns.create('life')
    const { ipam } = await Daemon.start()
    const added = await call('ADD', pod.path, { version })
    expect(added.code).toBe(0)
    const result = JSON.parse(added.stdout)
    expect(result).toMatchObject({ cniVersion: version, interfaces: [{ name: 'eth0', sandbox: pod.path }] })
    expect(result.ips[0]).toMatchObject({ address: '10.244.1.3/32', gateway: '10.244.1.1', interface: 0 })
    expect(await pod.run('ip', 'addr', 'show', 'eth0')).toContain('fd00:10:244:1::3/128')
    const checked = await call('CHECK', pod.path, { version, prevResult: result } as object)
    if (version === '0.3.1') expect(errorOf(checked).code).toBe(1)
    else expect(checked).toMatchObject({ code: 0, stdout: '' })
    expect(await call('DEL', pod.path, { version, prevResult: result } as object)).toMatchObject({
      code: 0,
      stdout: '',
    })
    expect((await pod.attempt('ip', 'link', 'show', 'eth0')).code).toBe(1)
    expect(ipam.freeCount).toBe(252)
  })

  test('as containerd ends it: DEL twice, the second without namespace and result', async () => {
    await using pod = await Netns.create('twice')
    const { ipam, attachments } = await Daemon.start()
    const pairs = 'K8S_POD_NAME=web;IgnoreUnknown=1;K8S_POD_UID=u1;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_NAMESPACE=shop'
    const environment = {
      CNI_CONTAINERID: 'c1',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: pod.path,
      CNI_ARGS: pairs,
      CNI_PATH: '/x',
    }
    const added = await shim({ ...environment, CNI_COMMAND: 'ADD' }, configOf('1.0.0'))
    expect(added.code).toBe(0)
    expect(attachments.list()[0]!.pod).toEqual({ namespace: 'shop', name: 'web', uid: 'u1' })
    const first = configOf('1.0.0', { prevResult: JSON.parse(added.stdout) })
    expect((await shim({ ...environment, CNI_COMMAND: 'DEL' }, first)).code).toBe(0)
    expect((await shim({ ...environment, CNI_COMMAND: 'DEL', CNI_NETNS: '' }, configOf('1.0.0'))).code).toBe(0)
    expect(ipam.freeCount).toBe(252)
  })

  test('DEL of what never was, whose namespace is gone, or with a field polder refuses elsewhere', async () => {
    const { ipam } = await Daemon.start()
    expect((await call('DEL', '/run/netns/polder-t-none')).code).toBe(0)
    {
      await using pod = await Netns.create('gone')
      expect((await call('ADD', pod.path)).code).toBe(0)
    }
    expect((await call('DEL', '', { bridge: 'cni0' } as object)).code).toBe(0)
    expect(ipam.freeCount).toBe(252)
  })

  test('ADD on an interface that exists fails; so does ADD without a namespace; CHECK says what is missing', async () => {
    await using pod = await Netns.create('codes')
    await Daemon.start()
    const added = await call('ADD', pod.path)
    const prevResult = JSON.parse(added.stdout)
    expect(errorOf(await call('ADD', pod.path)).code).toBe(100)
    expect(errorOf(await call('ADD', pod.path, { id: 'c2' })).code).toBe(100)
    const missing = errorOf(await call('ADD', '/run/netns/polder-t-none', { id: 'c3' }))
    expect(missing).toMatchObject({ code: 4, msg: expect.stringContaining('CNI_NETNS') })
    expect(errorOf(await call('CHECK', pod.path, { id: 'c2', prevResult } as object)).code).toBe(3)
    const others = { ...prevResult, ips: [{ address: '10.244.1.77/32' }] }
    expect(errorOf(await call('CHECK', pod.path, { prevResult: others } as object))).toMatchObject({ code: 102 })
    await pod.run('ip', 'route', 'del', 'default')
    const faulty = errorOf(await call('CHECK', pod.path, { prevResult } as object))
    expect(faulty).toMatchObject({ code: 102, msg: expect.stringContaining('route to 0.0.0.0/0') })
  })

  test('GC leaves bare namespaces, goes on past what fails, and tells all of it', async () => {
    await using pod = await Netns.create('garbage')
    const { attachments, refuses } = await Daemon.start()
    const bare = { containerId: 'netns-a', ifName: 'bare0', netns: pod.path, network: 'polder' }
    await attachments.add(bare)
    for (const CNI_IFNAME of ['eth0', 'eth1', 'eth2', 'eth3']) {
      const environment = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: pod.path, CNI_IFNAME }
      expect((await shim(environment, configOf('1.1.0'))).code).toBe(0)
    }
    // The bare one has port 3.
    for (const port of [4, 6]) refuses.add(port)
    mkdirSync(spoolFolder, { recursive: true })
    writeFileSync(join(spoolFolder, 'c1@eth1'), '')
    const gc = () => {
      const config = configOf('1.1.0', { 'cni.dev/valid-attachments': [] })
      return shim({ CNI_COMMAND: 'GC', CNI_PATH: '/opt/cni/bin' }, config)
    }
    const names = () => attachments.list().map(({ ifName }) => ifName)
    const { code, msg } = errorOf(await gc())
    expect(code).toBe(105)
    expect(msg).toMatch(/^2 of 4 .*eth0 of container c1: port 4 stays.*eth2 of container c1: port 6 stays/)
    expect(names()).toEqual(['bare0', 'eth0', 'eth2'])
    expect(readdirSync(spoolFolder)).toEqual([])
    refuses.clear()
    expect(await gc()).toMatchObject({ code: 0, stdout: '' })
    expect(names()).toEqual(['bare0'])
    await attachments.remove('netns-a', 'bare0')
  })

  test('60 at once', async () => {
    const { ipam } = await Daemon.start()
    await using pods = new AsyncDisposableStack()
    const netns = await Promise.all(Array.from({ length: 60 }, (_, i) => Netns.create(`many${i}`)))
    for (const each of netns) pods.use(each)
    const added = await Promise.all(netns.map((each) => call('ADD', each.path, { id: each.name })))
    const addresses = added.map(({ stdout }) => JSON.parse(stdout).ips[0].address)
    expect(new Set(addresses).size).toBe(60)
    const deleted = await Promise.all(netns.map((each) => call('DEL', '', { id: each.name })))
    expect(deleted.map(({ code }) => code)).toEqual(Array(60).fill(0))
    expect(ipam.freeCount).toBe(252)
  })
})

describe('without a polderd', () => {
  test.each([
    ['', '1.1.0'],
    ['{"nested": {"cniVersion": "0.1.0"}, "cniVersion" : "0.4.0"}', '0.4.0'],
    ['{"cniVersion":"1.1.0"}', '1.1.0'],
    ['{"cniVersion":"1\\" 0"', '1.1.0'],
  ])('VERSION with stdin %j answers in %s', async (stdin, version) => {
    const { code, stdout } = await shim({ CNI_COMMAND: 'VERSION' }, stdin)
    expect(code).toBe(0)
    const supportedVersions = CNI_VERSIONS.map((known) => known.version)
    expect(JSON.parse(stdout)).toEqual({ cniVersion: version, supportedVersions })
  })

  test('ADD waits five seconds, then asks to try again later', async () => {
    const startedMs = performance.now()
    const error = errorOf(await call('ADD', '/run/netns/polder-t-none', { version: '0.4.0' }))
    expect(error).toMatchObject({ code: 11, cniVersion: '0.4.0', details: socket })
    expect(performance.now() - startedMs).toBeGreaterThan(4_900)
  })

  test('ADD waits for one that starts', async () => {
    await using pod = await Netns.create('wait')
    // A socket file nobody listens on, as a killed polderd leaves it.
    const dead = net.createServer().listen(`${socket}.dead`)
    await once(dead, 'listening')
    linkSync(`${socket}.dead`, socket)
    dead.close()
    const added = call('ADD', pod.path)
    const start = setTimeout(() => void Daemon.start(), 200)
    expect((await added).code).toBe(0)
    clearTimeout(start)
  })

  test('DEL is spooled, and done before the same container is attached again', async () => {
    await using pod = await Netns.create('spool')
    await Daemon.start()
    expect((await call('ADD', pod.path)).code).toBe(0)
    await daemon!.stop()
    expect(await call('DEL', pod.path)).toMatchObject({ code: 0, stdout: '' })
    expect(await call('DEL', '')).toMatchObject({ code: 0 })
    expect(readdirSync(spoolFolder)).toEqual(['c1@eth0'])
    const { attachments } = await Daemon.start({ drains: false })
    expect(attachments.list()).toHaveLength(1)
    const added = await call('ADD', pod.path)
    expect(JSON.parse(added.stdout).ips[0].address).toBe('10.244.1.4/32')
    expect(readdirSync(spoolFolder)).toEqual([])
    expect(attachments.list()).toHaveLength(1)
  })

  test('DEL is spooled, and done before another container is attached in the same namespace', async () => {
    await using pod = await Netns.create('same')
    await Daemon.start()
    expect((await call('ADD', pod.path)).code).toBe(0)
    await daemon!.stop()
    expect((await call('DEL', pod.path)).code).toBe(0)
    const { spool } = await Daemon.start({ drains: false })
    const gate = Promise.withResolvers<void>()
    daemon!.gate = gate.promise
    const drained = spool.drain()
    const added = call('ADD', pod.path, { id: 'c2' })
    await until(() => daemon!.calls === 1)
    gate.resolve()
    expect((await added).code).toBe(0)
    await drained
  })

  test('what is spooled is drained at start; what is no DEL stays', async () => {
    await using pod = await Netns.create('drain')
    await Daemon.start()
    expect((await call('ADD', pod.path)).code).toBe(0)
    await daemon!.stop()
    expect((await call('DEL', pod.path)).code).toBe(0)
    writeFileSync(join(spoolFolder, 'notes.txt'), '')
    const { ipam, attachments } = await Daemon.start()
    expect(attachments.list()).toEqual([])
    expect(ipam.freeCount).toBe(252)
    expect(readdirSync(spoolFolder)).toEqual(['notes.txt'])
  })

  test('DEL that cannot be spooled fails, as does one whose names are none', async () => {
    mkdirSync(join(folder, 'lib'))
    writeFileSync(spoolFolder, '')
    expect(errorOf(await call('DEL', ''))).toMatchObject({ code: 11 })
    for (const id of ['../c1', '', '.c1', 'a/b', 'c'.repeat(201)]) {
      expect(errorOf(await call('DEL', '', { id })), id).toMatchObject({ code: 4 })
    }
  })
})

describe('a polderd that stops in the middle', () => {
  test.each(['', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"cni'])('after saying %j', async (beginning) => {
    const server = net.createServer((connection) => {
      connection.on('error', () => {})
      connection.once('data', () => connection.end(beginning))
    })
    server.listen(socket)
    await once(server, 'listening')
    try {
      expect(errorOf(await call('ADD', '/run/netns/a'))).toMatchObject({ code: 11 })
      expect(await call('DEL', '/run/netns/a')).toMatchObject({ code: 0, stdout: '' })
      expect(readdirSync(spoolFolder)).toEqual(['c1@eth0'])
    } finally {
      server.close()
    }
  })

  test('an answer that is not CNI is an error, and a DEL is kept', async () => {
    const server = http.createServer((_, response) => response.writeHead(404).end('{"error":{"code":"unknown-path"}}'))
    server.listen(socket)
    await once(server, 'listening')
    try {
      const error = errorOf(await call('ADD', '/run/netns/a'))
      expect(error).toMatchObject({ code: 5, details: '{"error":{"code":"unknown-path"}}' })
      expect((await call('DEL', '')).code).toBe(0)
      expect(readdirSync(spoolFolder)).toEqual(['c1@eth0'])
    } finally {
      server.close()
    }
  })
})

describe('what the shim refuses', () => {
  test.each([
    ['no CNI_COMMAND', {}, '', 4, 'CNI_COMMAND'],
    ['a line end in a variable', { CNI_COMMAND: 'ADD', CNI_ARGS: 'A=1\r\nCNI-Command: DEL' }, '{}', 4, 'CNI_ARGS'],
    ['variables too long for headers', { CNI_COMMAND: 'ADD', CNI_PATH: 'x'.repeat(16_000) }, '{}', 4, 'CNI_PATH'],
    ['a configuration over 1 MiB', { CNI_COMMAND: 'ADD' }, ' '.repeat((1 << 20) + 1), 6, '1 MiB'],
  ])('%s', async (_, environment, stdin, code, word) => {
    const answer = await shim(environment as unknown as Record<string, string>, stdin)
    expect(errorOf(answer).code).toBe(code)
    expect(answer.stdout).toContain(word)
  })

  test('nothing of a configuration of just 1 MiB, whose socket comes before the environment’s', async () => {
    await using pod = await Netns.create('large')
    await Daemon.start()
    const config = { cniVersion: '1.0.0', name: 'polder', type: 'polder-cni', socket, args: {} as object }
    config.args = { filling: 'x'.repeat((1 << 20) - JSON.stringify({ ...config, args: { filling: '' } }).length) }
    const environment = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: pod.path, CNI_IFNAME: 'eth0' }
    const stdin = JSON.stringify(config)
    expect(stdin.length).toBe(1 << 20)
    expect((await shim({ ...environment, POLDER_SOCKET: '/nonexistent' }, stdin)).code).toBe(0)
  })
})

describe('the conflist', () => {
  const options = () => ({
    cniConfDir: join(folder, 'net.d'),
    cniBinDir: join(folder, 'bin'),
    socket,
    spool: spoolFolder,
  })
  const list = () => join(folder, 'net.d', '10-polder.conflist')

  test('names the shim beside it and works as it is', async () => {
    await using pod = await Netns.create('list')
    await installConflist(options())
    const installed = join(folder, 'bin', 'polder-cni')
    expect(readFileSync(installed).equals(readFileSync(SHIM))).toBe(true)
    expect(statSync(installed).mode & 0o777).toBe(0o755)
    const { cniVersion, cniVersions, name, plugins } = JSON.parse(readFileSync(list(), 'utf8'))
    expect([cniVersion, ...cniVersions]).toEqual(['1.0.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])
    const capabilities = { ips: true, dns: true, portMappings: true }
    expect(plugins).toEqual([{ type: 'polder-cni', capabilities, socket, spool: spoolFolder }])
    await Daemon.start()
    const environment = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: pod.path, CNI_IFNAME: 'eth0' }
    const added = await shim({ ...environment, POLDER_SOCKET: '' }, JSON.stringify({ cniVersion, name, ...plugins[0] }))
    expect(added.code).toBe(0)
  })

  test('is left alone where it is right, replaced where it is not, and goes whole', async () => {
    const usual = { socket: '/run/polder/polderd.sock', spool: '/var/lib/polder/spool' }
    await installConflist({ ...options(), ...usual })
    const before = statSync(list())
    await installConflist({ ...options(), ...usual })
    expect(statSync(list()).ino).toBe(before.ino)
    expect(JSON.parse(readFileSync(list(), 'utf8')).plugins).toEqual([
      { type: 'polder-cni', capabilities: { ips: true, dns: true, portMappings: true } },
    ])
    writeFileSync(join(folder, 'bin', 'polder-cni'), 'old')
    await installConflist({ ...options(), ...usual })
    expect(readFileSync(join(folder, 'bin', 'polder-cni')).equals(readFileSync(SHIM))).toBe(true)
    expect(readdirSync(join(folder, 'net.d'))).toEqual(['10-polder.conflist'])
    removeConflist(options())
    removeConflist(options())
    expect(readdirSync(join(folder, 'net.d'))).toEqual([])
    expect(existsSync(join(folder, 'bin', 'polder-cni'))).toBe(false)
  })
})
