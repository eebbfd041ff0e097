/**
 * The keeper itself, by its own protocol, and what polderd makes of descriptors that are not what their names say.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, closeSync, fstatSync, mkdtempSync, openSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Keeper, keeperPath } from '../../daemon/handover/keeper.ts'
import {
  closeFd,
  connectMessages,
  isTun,
  isUnderlay,
  openTun,
  openUnderlay,
  receiveDescriptors,
  sendDescriptors,
} from '../../daemon/nic/nic.ts'
import { TestCluster } from '../support/cluster.ts'
import { Netns, until } from '../support/netns.ts'
import { keeperPid, openFiles, residentBytes } from '../support/processes.ts'

const PROGRAM = join(import.meta.dirname, '../../build/polder-keeper')
const ADDRESS = Uint8Array.of(127, 0, 0, 1)
const MEGABYTE = 1 << 20

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'polder-t'))
  path = keeperPath(join(folder, 'polderd.sock'))
})

afterEach(async () => {
  // A keeper whose path is gone ends by itself.
  rmSync(folder, { recursive: true })
  await until(() => keeperPid(path) === undefined)
})

/** Whether both are the same open file of the same inode. */
function same(a: number, b: number): boolean {
  return fstatSync(a).ino === fstatSync(b).ino
}

test('it holds what it is given beyond its giver, and hands it back', () => {
  const keeper = Keeper.open(path)
  const fd = openSync(PROGRAM, 'r')
  for (let i = 0; i < 1000; i++) keeper.put(`pod ${'0'.repeat(64)}${i}@eth0`, fd)
  keeper.put('host', fd)
  keeper.put('host', fd)
  keeper.remove('nothing of this name')
  const pid = keeperPid(path)!
  expect(residentBytes(pid)).toBeLessThan(MEGABYTE)
  console.log(`resident with 1001 descriptors: ${residentBytes(pid) / 1024} kB`)
  keeper.close()

  const next = Keeper.find(path)!
  const found = next.list()
  expect(found.size).toBe(1001)
  expect(same(found.get('host')!, fd)).toBe(true)
  for (const one of [...found.values(), fd]) closeFd(one)
  for (const name of found.keys()) next.remove(name)
  // Null device three times, the listening socket, the client.
  expect(openFiles(pid)).toBe(5)
  expect(residentBytes(pid)).toBeLessThan(MEGABYTE)
  next.end()
})

test('nobody but root is answered, nor a second client, nor nonsense', async () => {
  const keeper = Keeper.open(path)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(() => Keeper.open(path)).toThrow(/another polderd is connected/)
  keeper.close()

  chmodSync(folder, 0o755)
  chmodSync(path, 0o666)
  const script =
    'socket(S, AF_UNIX, SOCK_SEQPACKET, 0); connect(S, pack_sockaddr_un($ARGV[0])) or die $!; recv(S, $b, 99, 0); print $b'
  const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '/usr/bin/perl', '-MSocket', '-e', script, path]
  expect(execFileSync('setpriv', asNobody, { encoding: 'utf8' })).toBe('busy')

  const bytes = Buffer.alloc(512)
  for (const nonsense of ['what?', 'put ', `put ${'n'.repeat(300)}`, 'descriptor host', '\0list']) {
    const fd = connectMessages(path, 1000)
    receiveDescriptors(fd, bytes, new Int32Array(1))
    sendDescriptors(fd, Buffer.from(nonsense), new Int32Array(0))
    const length = receiveDescriptors(fd, bytes, new Int32Array(1))
    expect([nonsense, bytes.toString('utf8', 0, length)]).toEqual([nonsense, nonsense.startsWith('put') ? 'bad' : ''])
    closeFd(fd)
  }
  Keeper.find(path)!.end()
})

test('what it has no room for is refused by name', () => {
  execFileSync('prlimit', ['--nofile=64', PROGRAM, path])
  const keeper = Keeper.find(path)!
  const fd = openSync(PROGRAM, 'r')
  const fits = 64 - 16
  for (let i = 0; i < fits; i++) keeper.put(`pod ${i}`, fd)
  expect(() => keeper.put('pod too many', fd)).toThrow(/'full' to pod too many/)
  keeper.put('pod 7', fd)
  keeper.remove('pod 7')
  keeper.put('pod again', fd)
  closeSync(fd)
  keeper.end()
})

test('it ends when nobody has come for its time', async () => {
  execFileSync(PROGRAM, [path, '1'])
  expect(keeperPid(path)).toBeDefined()
  await until(() => keeperPid(path) === undefined)
  expect(Keeper.find(path)).toBeUndefined()
})

test('a descriptor is taken only for what it is', async () => {
  await using there = await Netns.create('there')
  await using elsewhere = await Netns.create('elsewhere')
  const tun = openTun(there.fd, 'eth0')
  expect(isTun(tun, there.fd, 'eth0')).toBe(true)
  expect(isTun(tun, there.fd, 'eth1')).toBe(false)
  expect(isTun(tun, elsewhere.fd, 'eth0')).toBe(false)
  expect(isTun(tun, -1, 'eth0')).toBe(false)
  await there.run('ip', 'link', 'delete', 'eth0')
  expect(isTun(tun, there.fd, 'eth0')).toBe(false)
  const socket = openUnderlay(ADDRESS, 0, 1)
  const bound = openUnderlay(ADDRESS, 47_899, 1)
  expect(isUnderlay(bound, ADDRESS, 47_899)).toBe(true)
  expect(isUnderlay(bound, ADDRESS, 4789)).toBe(false)
  expect(isUnderlay(bound, Uint8Array.of(127, 0, 0, 2), 47_899)).toBe(false)
  expect(isUnderlay(bound, new Uint8Array(16), 47_899)).toBe(false)
  const file = openSync('/dev/null', 'r+')
  for (const fd of [file, socket, 1_000_000]) expect(isTun(fd, there.fd, 'eth0')).toBe(false)
  for (const fd of [file, tun, 1_000_000]) expect(isUnderlay(fd, ADDRESS, 47_899)).toBe(false)
  for (const fd of [tun, socket, bound, file]) closeFd(fd)
})

test('polderd starts whatever a keeper has for it', async () => {
  await using cluster = await TestCluster.create(1)
  const node = cluster.nodes[0]!
  await cluster.start()
  const [a, b] = [await node.addPod('a'), await node.addPod('b')]
  await node.kill()
  const keeper = Keeper.find(keeperPath(node.socket))!
  const found = keeper.list()
  const [ofA, ofB] = [a, b].map(({ containerId }) => found.get(`pod ${containerId}@eth0`)!)
  const file = openSync('/dev/null', 'r+')
  // Each under a name that is not its own, and under none that anybody knows.
  keeper.put(`pod ${a.containerId}@eth0`, ofB!)
  keeper.put('host', file)
  keeper.put('underlay', ofA!)
  keeper.put('pod nobody@eth0', file)
  keeper.close()
  for (const fd of [...found.values(), file]) closeFd(fd)
  await node.start()
  expect(node.log.match(/is not what its name says/g)).toHaveLength(3)
  expect(node.log).toContain('"name":"pod nobody@eth0"')
  await a.netns.run('ping', '-c', '1', '-W', '5', b.v4)
  for (const pod of [a, b]) await node.removePod(pod)
})
