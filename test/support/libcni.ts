/**
 * The plugin as a container runtime drives it: through libcni, by the little Go program in libcni-driver/. Built when a
 * test asks for it; where it cannot be (no Go, no way to the module proxy), `missing` says why.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'

const DRIVER = join(import.meta.dirname, '../../build/libcni-driver')
const CANNOT_BE_BUILT = 77

export interface LibcniFlags {
  /** The network configuration list. */
  list: string
  plugins: string
  cache: string
  container?: string
  netns?: string
  ifname?: string
  capabilities?: string
  valid?: string
}

export interface LibcniAnswer {
  code: number
  /** What was printed: add's result, or the error. */
  json: unknown
}

export async function buildLibcniDriver(): Promise<{ missing?: string }> {
  const { code, stdout, stderr } = await execute(join(import.meta.dirname, 'libcni-driver/build'), [])
  if (code === 0) return {}
  if (code === CANNOT_BE_BUILT) return { missing: stdout.trim().split('\n').at(-1)! }
  throw new Error(`libcni-driver/build failed:\n${stdout}${stderr}`)
}

export async function libcni(command: string, flags: LibcniFlags): Promise<LibcniAnswer> {
  const args = Object.entries(flags).flatMap(([name, value]) => [`-${name}`, value as string])
  // Plugins may log on standard error.
  const { code, stdout } = await execute(DRIVER, [command, ...args])
  return { code, json: stdout === '' ? undefined : JSON.parse(stdout) }
}

function execute(file: string, args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    execFile(file, args, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(error)
      else resolve({ code: error ? Number(error.code) : 0, stdout, stderr })
    })
  })
}
