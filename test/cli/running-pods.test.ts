/** exec, logs and netns: the command as a process, on one node and on two. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ApiNode, makeScratch, putPod, runningStatus, type Scratch, startApiNode } from '../support/api-node.ts'
import { type CliOptions, POLDER, runCli, startCli } from '../support/cli.ts'
import { until } from '../support/until.ts'

let scratch: Scratch
let node: ApiNode

beforeEach(async () => {
  scratch = makeScratch()
  node = await startApiNode(scratch.folder)
})

afterEach(async () => {
  await node.stop()
  scratch.remove()
})

function polder(words: string[], options: CliOptions = {}) {
  return runCli(words, { socket: node.socket, ...options })
}

describe('exec', () => {
  beforeEach(() => putPod(node, 'a', 'node1', ['first', 'second']))

  test('both streams, and the exit code of the command', async () => {
    const result = await polder(['exec', 'a', '-c', 'first', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7'])
    expect(result).toEqual({ code: 7, stdout: 'out\n', stderr: 'err\n' })
  })

  test('options after -- are the command’s; the default container is said', async () => {
    const result = await polder(['exec', 'pod/a', '--', 'printf', '%s', '-n'])
    expect(result).toEqual({ code: 0, stdout: '-n', stderr: 'Defaulted container "first" out of: first, second\n' })
  })

  test('standard input with -i, none without', async () => {
    expect((await polder(['exec', '-i', 'a', '-c', 'first', '--', 'cat'], { stdin: 'hello' })).stdout).toBe('hello')
    expect((await polder(['exec', 'a', '-c', 'first', '--', 'cat'], { stdin: 'hello' })).stdout).toBe('')
  })

  test('megabytes through, and a reader that stops early', async () => {
    const stdin = 'x'.repeat(3 << 20)
    const copied = await polder(['exec', '-i', 'a', '-c', 'first', '--', 'cat'], { stdin })
    expect(copied.stdout === stdin).toBe(true)
    expect((await polder(['exec', '-i', 'a', '-c', 'first', '--', 'head', '-c', '3'], { stdin })).stdout).toBe('xxx')
  })

  test('a terminal: raw keys, the size, and the terminal as it was afterwards', async () => {
    const command = `stty rows 33 cols 77; ${POLDER} exec -it a -c first -- cat; stty -a`
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...process.env, POLDER_SOCKET: node.socket },
    })
    let seen = ''
    child.stdout.on('data', (chunk) => {
      seen += chunk
    })
    await until(() => node.runtime.running.size === 1)
    await until(() => node.runtime.sizes.length > 0)
    expect(node.runtime.sizes[0]).toEqual({ columns: 77, rows: 33 })
    child.stdin.write('\x03key')
    await until(() => seen.includes('\x03key'))
    for (const pid of node.runtime.running) process.kill(pid)
    await once(child, 'close')
    expect(seen).toMatch(/[^-]icanon/)
  })

  test('-t without a terminal goes on without one', async () => {
    const result = await polder(['exec', '-it', 'a', '-c', 'first', '--', 'sh', '-c', 'echo $TTY'])
    expect(result).toEqual({
      code: 0,
      stdout: 'false\n',
      stderr: 'No terminal for the command: standard input is not one.\n',
    })
  })

  test('ending it ends the command', async () => {
    const child = startCli(['exec', 'a', '-c', 'first', '--', 'sleep', '1000'], { socket: node.socket })
    await until(() => node.runtime.running.size === 1)
    child.kill('SIGINT')
    await until(() => node.runtime.running.size === 0)
  })

  test('a daemon that goes away is an error', async () => {
    const child = startCli(['exec', 'a', '-c', 'first', '--', 'sleep', '1000'], { socket: node.socket })
    const stderr = text(child.stderr!)
    await until(() => node.runtime.running.size === 1)
    await node.api.stop()
    expect(await stderr).toContain('The connection to polderd broke before the command ended.')
    expect(child.exitCode ?? (await once(child, 'close'))[0]).toBe(1)
  })

  test.each([
    ['no command', ['exec', 'a'], 'Run which command?', 'polder exec a -- ls -l'],
    ['no pod', ['exec'], "missing required argument 'pod'", 'polder exec --help'],
    ['an unknown pod', ['exec', 'aa', '--', 'ls'], 'pod "aa" not found', 'Did you mean a?'],
    ['an unknown container', ['exec', 'a', '-c', 'third', '--', 'ls'], 'no container "third"', 'first, second'],
    ['a forgotten --', ['exec', 'a', 'ls', '-l'], "unknown option '-l'", 'polder exec --help'],
    ['a node', ['exec', 'node/x', '--', 'ls'], 'node/x is not a pod', 'pod/NAME'],
    [
      'a command that is not there',
      ['exec', 'a', '-c', 'first', '--', '/no/such'],
      'Cannot run /no/such',
      'Check the command.',
    ],
  ])('%s', async (_, words, message, remedy) => {
    const { code, stdout, stderr } = await polder(words)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain(message)
    expect(stderr).toContain(remedy)
  })
})

describe('logs', () => {
  let file: string

  beforeEach(async () => {
    await putPod(node, 'a', 'node1', ['first', 'second'])
    file = path.join(scratch.folder, 'default.a.first')
    writeFileSync(file, 'one\ntwo\nthree\n')
  })

  test.each([
    ['all', ['-c', 'first'], 'one\ntwo\nthree\n'],
    ['the container as a second word', ['first'], 'one\ntwo\nthree\n'],
    ['the last', ['-c', 'first', '--tail', '1'], 'three\n'],
    ['the last, all', ['-c', 'first', '--tail=-1'], 'one\ntwo\nthree\n'],
    ['with times', ['-c', 'first', '--tail=1', '--timestamps'], '2026-01-31T12:00:00Z three\n'],
  ])('%s', async (_, words, expected) => {
    expect(await polder(['logs', 'a', ...words])).toEqual({ code: 0, stdout: expected, stderr: '' })
  })

  test('followed, and broken off', async () => {
    const child = startCli(['logs', '-f', '--tail', '1', 'a', 'first'], { socket: node.socket })
    const stderr = text(child.stderr!)
    let seen = ''
    child.stdout!.on('data', (chunk) => {
      seen += chunk
    })
    await until(() => seen === 'three\n')
    appendFileSync(file, 'four\n')
    await until(() => seen === 'three\nfour\n')
    appendFileSync(file, 'BREAK\n')
    expect(await stderr).toContain('The log broke off before its end.')
  })

  test('a container that wrote nothing', async () => {
    const { code, stderr } = await polder(['logs', 'a', 'second'])
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'Error: a has written nothing yet.\n  Try again later.\n' })
  })
})

describe('netns', () => {
  test('create waits for the addresses and says how to enter', async () => {
    const creating = polder(['netns', 'create', 'a'])
    await until(() => node.store.get('Pod', 'a', 'default') !== undefined)
    const pod = node.store.get('Pod', 'a', 'default')!
    expect(pod.spec).toMatchObject({ containers: [], runtimeClassName: 'netns', nodeName: 'node1' })
    await node.store.putPodStatus(pod, runningStatus('node1', ['10.244.0.3', 'fd00:10:244::3'], []))
    expect(await creating).toEqual({
      code: 0,
      stdout: 'a on node1: 10.244.0.3 fd00:10:244::3\n  sudo ip netns exec a ping 10.244.0.1\n',
      stderr: '',
    })
    expect((await polder(['netns', 'list'])).stdout).toMatch(
      /^NAME +STATUS +ADDRESSES[\s\S]*\na +Running +10.244.0.3,fd00:10:244::3 +node1/,
    )
    expect((await polder(['netns', 'delete', 'a'])).stdout).toBe('pod "a" deleted\n')
    expect((await polder(['netns', 'list'])).stderr).toContain('polder netns create NAME...')
  })

  test('a namespace that gets none is told with its reason', async () => {
    const creating = polder(['netns', 'create', 'a', '--timeout', '1s'])
    await until(() => node.store.get('Pod', 'a', 'default') !== undefined)
    const pod = node.store.get('Pod', 'a', 'default')!
    await node.store.putPodStatus(pod, { phase: 'Pending', nodeName: 'node1', message: 'no address left' })
    const { code, stderr } = await creating
    expect(code).toBe(1)
    expect(stderr).toContain('Network namespace "a" has no addresses: no address left')
  })

  test('delete does not take a pod with containers', async () => {
    await putPod(node, 'a', 'node1')
    expect((await polder(['netns', 'delete', 'a'])).stderr).toContain('"a" is a pod with containers')
    expect(node.store.get('Pod', 'a', 'default')).toBeDefined()
  })
})

describe('a pod on a node out of reach', () => {
  test('says where the command would work', async () => {
    await putPod(node, 'a', 'node2')
    for (const words of [
      ['logs', 'a'],
      ['exec', 'a', '--', 'true'],
    ]) {
      const { code, stderr } = await polder(words)
      expect(code).toBe(1)
      expect(stderr).toContain('Pod "a" runs on node node2')
      expect(stderr).toContain('Run this command on node node2.')
    }
  })

  test('or has no node yet', async () => {
    await putPod(node, 'a')
    expect((await polder(['logs', 'a'])).stderr).toContain('Pod "a" is not on any node yet.')
  })
})
