/** How the command helps and fails: usage, help, the daemon it cannot find, pipes that close. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ApiNode, makeScratch, putPod, type Scratch, startApiNode } from '../support/api-node.ts'
import { POLDER, runCli } from '../support/cli.ts'

const COMMANDS = readdirSync(path.join(import.meta.dirname, '../../cli/commands')).map((file) => path.parse(file).name)

let scratch: Scratch
let node: ApiNode

beforeAll(async () => {
  scratch = makeScratch()
  node = await startApiNode(scratch.folder)
})

afterAll(async () => {
  await node.stop()
  scratch.remove()
})

describe('help', () => {
  test('without words, and with --help: every command, and examples', async () => {
    const [bare, asked] = await Promise.all([runCli([]), runCli(['--help'])])
    expect(bare).toEqual(asked)
    expect(bare).toMatchObject({ code: 0, stderr: '' })
    for (const command of [...COMMANDS, 'lab']) expect(bare.stdout).toMatch(new RegExp(`^  ${command} `, 'm'))
  })

  test.each([...COMMANDS, 'lab'])('%s --help has examples', async (command) => {
    const words = command === 'create' ? ['create', 'namespace'] : [command]
    const { code, stdout } = await runCli([...words, '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/\nExamples:\n {2}\S/)
  })

  test('the version', async () => {
    expect((await runCli(['--version'])).stdout).toMatch(/^polder \d+\.\d+\.\d+\n$/)
    const { stdout } = await runCli(['version'], { socket: node.socket })
    expect(stdout).toMatch(new RegExp(`^polder .*\npolderd 0.1.0 on node1 \\(pid \\d+, ${node.socket}\\)\n$`))
  })

  test('through a symbolic link, from anywhere', async () => {
    const link = path.join(scratch.folder, 'polder')
    symlinkSync(POLDER, link)
    const child = spawn(link, ['version', '--client'], { cwd: '/' })
    expect(await text(child.stdout)).toMatch(/^polder /)
  })
})

describe('what is wrong on the command line', () => {
  test.each([
    ['gte pods', "unknown command 'gte'", 'Did you mean get?'],
    ['get', "missing required argument 'kind'", 'polder get --help'],
    ['get podz', 'There is no kind "podz".', 'Did you mean pods?'],
    ['get deployments', 'There is no kind "deployments".', 'The kinds are: pods (po), nodes (no)'],
    ['get pod/', '"pod/" is not KIND/NAME.', 'KIND/NAME'],
    ['get pods -o yml', "argument 'yml' is invalid", 'wide, yaml, json, name'],
    ['get pods --wtach', "unknown option '--wtach'", 'Did you mean --watch?'],
    ['get pods -l =', '"=" is not understood', 'key=value'],
    ['get pods,nodes -w', '-w follows one kind', 'Leave out'],
    ['get pod nope', 'pod "nope" not found in namespace default.', 'polder get pods -A'],
    ['describe problem x', 'problem "x" not found.', 'polder get problems'],
    ['apply', "required option '-f, --filename <file>' not specified", 'polder apply --help'],
    ['apply -f /no/such/file', 'There is no file /no/such/file.', 'standard input'],
    ['apply -f /root/../etc/hostname', '/root/../etc/hostname:1', 'Correct the manifest'],
    ['apply -f -', 'There are no objects in -', 'manifest'],
    ['delete', 'Delete what?', 'polder delete KIND NAME'],
    ['delete pod', 'Which pod?', 'polder delete pod NAME'],
    ['delete pod x -f y', 'Both -f and names are given.', 'the other'],
    ['delete --all', '--all goes with one kind', 'polder delete pods --all'],
    ['delete attachment x', 'does not work on attachments', 'polder get attachments'],
    ['delete ns default', 'The namespace default cannot be deleted.', 'Delete what is in it'],
    ['run web', "required option '--image <image>' not specified", 'polder run --help'],
    ['run Web --image x', '"Web" cannot be a name.', 'lower-case letters'],
    ['run web --image x -n Shop', '"Shop" cannot be a namespace.', 'lower-case letters'],
    ['run web --image x -n shop', 'Namespace "shop" of Pod "web" not found.', 'polder create namespace shop'],
    ['run web --image x --port 99999', 'A port is a number from 1 to 65535.', 'polder run --help'],
    ['run web --image x --env A', '--env A is not understood.', 'NAME=VALUE'],
    ['run web --image x --restart maybe', 'Always, OnFailure and Never', 'polder run --help'],
    ['logs', "missing required argument 'pod'", 'polder logs --help'],
    ['logs x --tail many', "argument 'many' is invalid", 'number of lines'],
    ['wait pod/x', "required option '--for <goal>' not specified", 'polder wait --help'],
    ['wait --for=Ready pod/x', '--for=Ready is not understood.', '--for=condition=Ready'],
    ['wait --for=delete pod/x --timeout soon', 'A duration is written as 30s', 'polder wait --help'],
    ['netns crate a', "unknown command 'crate'", 'Did you mean create?'],
    ['create pod', "unknown command 'pod'", 'polder create --help'],
    ['lab pu', "unknown command 'pu'", 'up'],
  ])('polder %s', async (line, message, remedy) => {
    const { code, stdout, stderr } = await runCli(line.split(' '), { socket: node.socket })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^Error: /)
    expect(stderr).toContain(message)
    expect(stderr).toContain(remedy)
  })
})

describe('the daemon', () => {
  test('that is not there', async () => {
    const { code, stderr } = await runCli(['get', 'pods'], { socket: '/no/such/socket' })
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^Error: No polderd answers on \/no\/such\/socket\.\n {2}.*sudo polder lab up.*systemctl start polderd\n$/,
    )
  })

  test('--socket goes before POLDER_SOCKET, at either end of the line', async () => {
    await putPod(node, 'a')
    for (const words of [
      ['--socket', node.socket, 'get', 'pods', '-o', 'name'],
      ['get', 'pods', '-o', 'name', '--socket', node.socket],
    ]) {
      expect((await runCli(words, { socket: '/no/such/socket' })).stdout).toBe('pod/a\n')
    }
  })

  test('that is something else', async () => {
    const other = path.join(scratch.folder, 'other.sock')
    const server = net.createServer((connection) => connection.end('220 smtp\r\n')).listen(other)
    await once(server, 'listening')
    expect((await runCli(['get', 'pods'], { socket: other })).stderr).toContain(
      `The connection to polderd on ${other} broke`,
    )
    server.close()
    const file = path.join(scratch.folder, 'file.sock')
    writeFileSync(file, '')
    expect((await runCli(['get', 'pods'], { socket: file })).stderr).toContain(`No polderd answers on ${file}.`)
  })

  test.skipIf(process.getuid!() !== 0)('that only root may talk to', async () => {
    const script =
      'process.setgid(65534); process.setuid(65534); process.argv.splice(1, 0, "polder"); import(process.env.MAIN)'
    const main = path.join(path.dirname(POLDER), '../cli/main.ts')
    const child = spawn(process.execPath, ['-e', script, 'get', 'pods', '--socket', node.socket], {
      env: { ...process.env, MAIN: main },
    })
    const stderr = await text(child.stderr)
    // The temporary folder is root's alone, so that already the path may be closed.
    expect(stderr).toBe(`Error: No permission to talk to polderd on ${node.socket}.\n  Run it with sudo.\n`)
  })
})

test('output to a pipe that closes ends quietly', async () => {
  for (let pod = 0; pod < 200; pod++) await putPod(node, `with-a-rather-long-name-${pod}`)
  const child = spawn('bash', ['-c', `${POLDER} get pods -o yaml | head -1; echo "\${PIPESTATUS[0]}"`], {
    env: { ...process.env, POLDER_SOCKET: node.socket },
  })
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  expect({ stdout, stderr }).toEqual({ stdout: 'apiVersion: v1\n0\n', stderr: '' })
})
