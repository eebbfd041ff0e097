/** What test/support/netns.ts promises to every other test here: nothing is left, however a test ends. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { connect, Netns, until } from '../support/netns.ts'

const SUPPORT = fileURLToPath(new URL('../support/netns.ts', import.meta.url))

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`)
}

/** Another test process: makes a namespace with a process in it, says so, and then does `ending`. */
async function strangers(
  ending: string,
): Promise<{ pid: number; sleeper: number; path: string; ended: Promise<void> }> {
  const script = `import { Netns } from ${JSON.stringify(SUPPORT)}
    const netns = await Netns.create('stranger')
    console.log(JSON.stringify({ sleeper: netns.spawn('sleep', '1000').pid, path: netns.path }))
    ${ending}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  let said = ''
  for await (const chunk of child.stdout) {
    said += chunk
    if (said.includes('\n')) break
  }
  return { pid: child.pid!, ended, ...(JSON.parse(said) as { sleeper: number; path: string }) }
}

test('a namespace goes with its processes, and two are connected', async () => {
  let pid = 0
  let path = ''
  {
    await using a = await Netns.create('a')
    await using b = await Netns.create('b')
    await connect(a, 'eth0', b, 'eth0')
    await a.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'eth0')
    await b.run('ip', 'address', 'add', '192.0.2.2/24', 'dev', 'eth0')
    expect((await a.attempt('ping', '-c', '1', '-W', '2', '192.0.2.2')).code).toBe(0)
    expect((await a.attempt('false')).code).toBe(1)
    await expect(a.run('ip', 'link', 'show', 'nothing')).rejects.toThrow('does not exist')
    const stubborn = b.spawn('sh', '-c', 'trap "" TERM; echo started; while :; do sleep 1; done')
    await until(() => stubborn.stdout === 'started\n')
    pid = stubborn.pid
    path = b.path
    expect(isAlive(pid) && existsSync(path)).toBe(true)
  }
  expect(isAlive(pid)).toBe(false)
  expect(existsSync(path)).toBe(false)
})

test('a test process that exits takes its namespaces with it', async () => {
  const { sleeper, path, ended } = await strangers('process.exit(3)')
  await ended
  expect(existsSync(path)).toBe(false)
  await until(() => !isAlive(sleeper))
})

test('what a killed one left is removed by the next', async () => {
  const killed = await strangers('setInterval(() => {}, 1000)')
  process.kill(killed.pid, 'SIGKILL')
  await until(() => !isAlive(killed.pid))
  const next = await strangers('process.exit(0)')
  await next.ended
  expect(existsSync(killed.path)).toBe(false)
  await until(() => !isAlive(killed.sleeper))
})

test('a condition that never comes true says what it was and why not', async () => {
  const failure = until(() => {
    throw new Error('still missing')
  }, 30)
  await expect(failure).rejects.toMatchObject({
    message: expect.stringContaining('not within 30 ms'),
    cause: { message: 'still missing' },
  })
})
